package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Storage and Locker are what other idempotency middlewares ask for: a fiber.Storage and an idempotency.Locker of Fiber's fit as they are.
type Storage interface {
	// Get returns no bytes and no error if there is nothing.
	Get(name string) ([]byte, error)
	Set(name string, value []byte, life time.Duration) error
}

// Locker locks a name for everybody who could run a handler: for all processes, not just this one. Lock waits.
type Locker interface {
	Lock(name string) error
	Unlock(name string) error
}

// Locked keeps a record under a lock. Nothing ties the two together: see docs/stores.md for what that costs.
type Locked struct {
	storage  Storage
	locks    Locker
	patience time.Duration
	held     sync.Map // names that this process holds, or waits for
}

// NewLocked returns one that takes a key whose lock it did not get for patience as in progress. Lock cannot be told to give up, and
// the one that was not waited for is let go of as soon as it comes; until then the key is in progress here.
func NewLocked(storage Storage, locks Locker, patience time.Duration) (*Locked, error) {
	if storage == nil || locks == nil || patience <= 0 {
		return nil, errors.New("store: NewLocked needs a storage, a locker, and for how long to wait for a lock: 100ms, say")
	}
	return &Locked{storage: storage, locks: locks, patience: patience}, nil
}

// Claim looks twice: a record needs no lock to be read, and there may be one by the time that the lock is there.
func (s *Locked) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, nil, idempotency.ErrStoreUnavailable.Because(err)
	}
	name := nameOf(key)
	if record, err := s.lookup(name); record != nil || err != nil {
		return nil, record, err
	}
	if err := s.lock(ctx, name); err != nil {
		return nil, nil, err
	}
	record, err := s.lookup(name)
	if record != nil || err != nil {
		_ = s.unlock(name)
		return nil, record, err
	}
	return &lockedAttempt{store: s, name: name}, nil, nil
}

func (s *Locked) lock(ctx context.Context, name string) error {
	if _, others := s.held.LoadOrStore(name, true); others {
		return idempotency.ErrInProgress
	}
	got := make(chan error, 1)
	go func() { got <- s.locks.Lock(name) }()
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	select {
	case err := <-got:
		if err != nil {
			s.held.Delete(name)
			return idempotency.ErrStoreUnavailable.Because(err)
		}
		return nil
	case <-patience.C:
	case <-ctx.Done():
	}
	go func() {
		if <-got == nil {
			_ = s.unlock(name)
		} else {
			s.held.Delete(name)
		}
	}()
	return idempotency.ErrInProgress
}

func (s *Locked) unlock(name string) error {
	s.held.Delete(name)
	return s.locks.Unlock(name)
}

// Lookup returns the record, if there is one.
func (s *Locked) Lookup(_ context.Context, key idempotency.Key) (*idempotency.Record, error) {
	return s.lookup(nameOf(key))
}

func (s *Locked) lookup(name string) (*idempotency.Record, error) {
	value, err := s.storage.Get(name)
	switch {
	case err != nil:
		return nil, idempotency.ErrStoreUnavailable.Because(err)
	case len(value) == 0:
		return nil, nil
	}
	return decoded(value)
}

// Begin starts an attempt without a key, of which nothing is kept.
func (s *Locked) Begin(context.Context) (idempotency.Attempt, error) { return &lockedAttempt{}, nil }

// Reap has nothing to do: the storage drops what has lived long enough.
func (s *Locked) Reap(context.Context, int) (idempotency.Reaped, error) {
	return idempotency.Reaped{}, nil
}

type lockedAttempt struct {
	store *Locked // nil without a key
	name  string
	over  atomic.Bool
}

func (a *lockedAttempt) Context(ctx context.Context) context.Context { return ctx }

// Complete looks for another one's record before it puts its own, in case the lock was lost on the way. Between the two there is
// nothing that would keep the other one away.
func (a *lockedAttempt) Complete(_ context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	if a.over.Swap(true) {
		return idempotency.Settled{}, errOver
	}
	if a.store == nil {
		return idempotency.Settled{}, nil
	}
	defer func() { _ = a.store.unlock(a.name) }()
	if stands, err := a.store.lookup(a.name); stands != nil || err != nil {
		return idempotency.Settled{Record: stands}, err
	}
	if err := a.store.storage.Set(a.name, encoded(record), retention); err != nil {
		return idempotency.Settled{}, idempotency.ErrOutcomeUnknown.Because(err) // it may have been the reply that failed
	}
	return idempotency.Settled{Record: record}, nil
}

// Refuse is Complete: there are no writes to roll back.
func (a *lockedAttempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	return a.Complete(ctx, record, retention)
}

// Release lets go of the lock.
func (a *lockedAttempt) Release(context.Context) error {
	switch {
	case a.over.Swap(true):
		return errOver
	case a.store == nil:
		return nil
	}
	return a.store.unlock(a.name)
}
