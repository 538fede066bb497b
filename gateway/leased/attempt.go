package leased

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// attempt is a lease.
type attempt struct {
	store   *Store
	key     idempotency.Key
	owner   idempotency.OwnerToken
	number  int
	ends    time.Time // the lease, at the latest, by this process's monotonic clock
	keyless bool

	mu   sync.Mutex
	held bool
	over bool
}

var errOver = idempotency.ErrInternal.Because(errors.New("leased: the attempt is over: end it once"))

// end reports whether the attempt was held, and that it is over from now on.
func (a *attempt) end() (held bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return false, errOver
	}
	a.over = true
	return a.held, nil
}

func (a *attempt) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptKey{}, a)
}

// Complete stores record. An error of a store says nothing about the effect, which is the upstream's: whatever it is, the outcome is unknown,
// and the lease is left to end.
func (a *attempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	if _, err := a.end(); err != nil || a.keyless {
		return idempotency.Settled{Record: record}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.store.config.Timeout)
	defer cancel()
	err := again(ctx, func() error {
		_, err := a.store.leaser.Settle(ctx, a.key, a.owner, record, retention)
		return err
	})
	switch {
	case err == nil:
		return idempotency.Settled{Record: record}, nil
	case errors.Is(err, idempotency.ErrLeaseLost):
		if stands, lookErr := a.store.leaser.Lookup(ctx, a.key); lookErr == nil && stands != nil {
			return idempotency.Settled{Record: stands}, nil
		}
		return idempotency.Settled{}, err
	}
	unknown := idempotency.ErrOutcomeUnknown.Because(err)
	unknown.RetryAfter = max(a.left(), time.Second)
	return idempotency.Settled{}, unknown
}

// Refuse is Complete: nothing is rolled back here.
func (a *attempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	return a.Complete(ctx, record, retention)
}

// Release gives the key back; or, after Hold, leaves it to the lease.
func (a *attempt) Release(ctx context.Context) error {
	held, err := a.end()
	if err != nil || held || a.keyless {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.store.config.Timeout)
	defer cancel()
	asked := false
	return again(ctx, func() error {
		err := a.store.leaser.Free(ctx, a.key, a.owner)
		if asked && errors.Is(err, idempotency.ErrLeaseLost) {
			return nil // the reply to the first time was lost
		}
		asked = true
		return err
	})
}

func (a *attempt) left() time.Duration { return max(0, time.Until(a.ends)) }

// again asks until the store answers or ctx ends: a Settle and a Free may be sent twice.
func again(ctx context.Context, ask func() error) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := ask()
		if !maybeDone(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}
