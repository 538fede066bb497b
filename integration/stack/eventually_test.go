package stack

import (
	"testing"
	"time"
)

// eventually asks, again and again, until the answer is yes. An error ends the test.
func eventually(t *testing.T, what string, ask func() (bool, error)) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		is, err := ask()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if is {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
