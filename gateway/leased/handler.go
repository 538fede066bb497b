package leased

import (
	"context"
	"time"
)

// What a handler can say about its attempt, and learn of it, by its context. All of it is for the time until the handler has returned.

type attemptKey struct{}

func of(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// Hold says that from here on nobody can tell whether the effect has happened: should the attempt end without a record, by a Release or a panic,
// its key is not freed, and the lease ends by itself. It is to be called before the effect can have begun. A second call does nothing.
func Hold(ctx context.Context) { hold(ctx, true) }

// Unhold takes Hold back: the handler knows now what has become of its effect.
func Unhold(ctx context.Context) { hold(ctx, false) }

func hold(ctx context.Context, held bool) {
	if a := of(ctx); a != nil {
		a.mu.Lock()
		a.held = held
		a.mu.Unlock()
	}
}

// Attempt returns the number of the attempt at the key, from 1 on; above that, an earlier one was left without an outcome, and what it was to do
// may have happened. It is 0 where there is no key.
func Attempt(ctx context.Context) int {
	if a := of(ctx); a != nil {
		return a.number
	}
	return 0
}

// Left returns how long the lease lasts at most, by this process's clock: after that the key can be taken over. It is 0 where there is no key,
// and where the lease is over.
func Left(ctx context.Context) time.Duration {
	if a := of(ctx); a != nil {
		return a.left()
	}
	return 0
}
