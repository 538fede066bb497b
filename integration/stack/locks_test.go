package stack

import "testing"

// What make crashes LOCK=… has all of: servers killed under each lock that is not the default.
func TestWithEveryLockAServerKilledBetweenAnyTwoStatementsLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		t.Run(string(lock), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			killBetweenStatements(t, w, settings{URL: w.url, Lock: lock})
		})
	}
}

func TestWithEveryLockACrashStormDoublesNothingAndLosesNothing(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		t.Run(string(lock), func(t *testing.T) {
			t.Parallel()
			crashStorm(t, settings{Lock: lock}, 5, 8)
		})
	}
}
