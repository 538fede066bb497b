package stack

import (
	"context"
	"testing"
	"time"
)

// eventually asks, again and again, until the answer is yes. An error ends the test.
func eventually(t *testing.T, what string, ask func(ctx context.Context) (bool, error)) {
	t.Helper()
	ctx := deadline(t)
	for {
		is, err := ask(ctx)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if is {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, patience)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
