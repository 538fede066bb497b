package redisstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

var _ idempotency.PendingCounter = (*attempt)(nil)

// attempt is the exclusive work on one key.
type attempt struct {
	store  *Store
	key    idempotency.Key
	place  place
	holder string                // what the hash knows the attempt by
	found  *idempotency.Progress // what the claim has read, if the key was pending
	beat   *time.Timer           // when the lease is to be renewed next

	// mu is held during calls of Redis, so that a renewal does not compare a token that is being replaced.
	mu    sync.Mutex
	owner string // the token of the pending row, as it was read or written last; empty if there is none
	owned bool   // and that is this attempt's
	lease time.Duration
	over  bool
	lose  []context.CancelCauseFunc // for each context that was handed out
}

var errOver = errors.New("redisstore: the attempt is over: one of Complete, Refuse, Release and Yield ends it, once")

var errLost = idempotency.ErrLeaseLost.Because(errors.New("redisstore: another attempt has taken the key over, or Redis has forgotten that it was claimed: " +
	"what this one stores is refused"))

// takeOver goes on with the claim of a key that is pending.
func (a *attempt) takeOver(answer reply) error {
	p, err := answer.progress(2)
	if err != nil {
		return err
	}
	a.owner, _ = answer.text(1)
	a.found = &p
	return nil
}

// Context returns a context that ends when the attempt is over, or when its lease turns out to be lost; context.Cause is
// [idempotency.ErrLeaseLost] then. There is no transaction in it.
func (a *attempt) Context(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, attemptKey{}, a))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lose = append(a.lose, cancel)
	return ctx
}

type attemptKey struct{}

// end says that the attempt is over, once. a.mu is held.
func (a *attempt) end() bool {
	if a.over {
		return false
	}
	a.over = true
	a.beat.Stop()
	return true
}

// dismiss ends the contexts. a.mu is held.
func (a *attempt) dismiss(why error) {
	for _, cancel := range a.lose {
		cancel(why)
	}
	a.lose = nil
}

// keyless is an attempt without a key.
type keyless struct{ over atomic.Bool }

func (k *keyless) Context(ctx context.Context) context.Context { return ctx }

func (k *keyless) Complete(context.Context, *idempotency.Record, time.Duration) (idempotency.Settled, error) {
	return idempotency.Settled{}, k.Release(context.Background())
}

func (k *keyless) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	return k.Complete(ctx, record, retention)
}

func (k *keyless) Release(context.Context) error {
	if k.over.Swap(true) {
		return errOver
	}
	return nil
}
