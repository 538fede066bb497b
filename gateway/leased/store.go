// Package leased makes an idempotency.Store of whatever lends keys, so that an idempotency.Engine, and with it every HTTP adapter, runs in
// front of an upstream that knows nothing of keys. An attempt is a lease.
//
// What it cannot do is roll back. The handler's effect is the upstream's, and nobody takes that back: Refuse keeps a response as Complete does,
// and Release gives the key to the next request. A handler that cannot tell what has become of its effect says so by [Hold]; then the key
// belongs to nobody until the lease ends. After a crash it is the same. The next attempt has a number above 1 ([Attempt]), and may repeat the
// effect: it is the one place where that can happen.
package leased

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Config configures a [Store]. Lease is mandatory; the rest has defaults.
type Config struct {
	// Lease is for how long an attempt has its key. Nothing renews it, so that it must last longer than any handler: the upstream's time-out and a
	// margin. An attempt that nobody ends blocks its key for that long, and no longer. At least 10 milliseconds.
	Lease time.Duration
	// Remember is for how long an attempt that nobody has ended is remembered after its lease: another request with its key is told so until then,
	// and the attempts are counted. Default: [idempotency.DefaultRemember].
	Remember time.Duration
	// Timeout bounds for how long a store that is away is asked again to end an attempt, which the client cannot cancel. A store that insists
	// by itself on knowing what became of a record (pgstore.Config.ReadBackTimeout) may take that long instead. Default: 5 seconds.
	Timeout time.Duration
}

// Store is an [idempotency.Store] on an [idempotency.Leaser]. It keeps the fingerprint of a request from its claim on. It is safe for concurrent
// use, starts no goroutine, and several Stores with leases of their own may share a Leaser.
type Store struct {
	leaser idempotency.Leaser
	config Config
}

var (
	_ idempotency.IdentityClaimer = (*Store)(nil)
	_ idempotency.Transactional   = (*Store)(nil)
)

// New returns a Store, or an error that says what is wrong with config.
func New(leaser idempotency.Leaser, config Config) (*Store, error) {
	if leaser == nil {
		return nil, errors.New("leased: New needs something that lends keys: pass a store of pgstore, or memstore.New for tests")
	}
	if config.Remember == 0 {
		config.Remember = idempotency.DefaultRemember
	}
	if config.Timeout == 0 {
		config.Timeout = 5 * time.Second
	}
	for _, setting := range []struct {
		name       string
		value, min time.Duration
	}{
		{"Lease", config.Lease, 10 * time.Millisecond},
		{"Remember", config.Remember, time.Millisecond},
		{"Timeout", config.Timeout, time.Millisecond},
	} {
		if setting.value < setting.min {
			return nil, fmt.Errorf("leased: Config.%s is %v: give at least %v", setting.name, setting.value, setting.min)
		}
	}
	return &Store{leaser, config}, nil
}

// Transactional reports false: what the upstream did stays done.
func (s *Store) Transactional() bool { return false }

// Claim is ClaimAs for a request that cannot be told from others with its key.
func (s *Store) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	return s.ClaimAs(ctx, key, idempotency.Identity{})
}

// ClaimAs borrows key. Where it fails, the key is given back if it was lent all the same: a client that goes away just then does not leave
// it blocked for a lease.
func (s *Store) ClaimAs(ctx context.Context, key idempotency.Key, identity idempotency.Identity) (idempotency.Attempt, *idempotency.Record, error) {
	owner, ends := idempotency.NewOwnerToken(), time.Now().Add(s.config.Lease) // the store's lease begins later than now
	lease, record, err := s.leaser.Acquire(ctx, key, idempotency.Terms{Owner: owner, Identity: identity, Lease: s.config.Lease, Remember: s.config.Remember})
	switch {
	case err == nil && lease != nil:
		return &attempt{store: s, key: key, owner: owner, number: lease.Attempt, ends: ends}, nil, nil
	case err == nil:
		return nil, record, nil
	}
	if maybeDone(err) || ctx.Err() != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(s.config.Timeout, time.Second))
		defer cancel()
		_ = s.leaser.Free(ctx, key, owner) // else the lease ends by itself
	}
	return nil, nil, err
}

// Lookup returns the completed record of key, or nil.
func (s *Store) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	return s.leaser.Lookup(ctx, key)
}

// Begin starts an attempt without a key. There is nothing to do for it.
func (s *Store) Begin(context.Context) (idempotency.Attempt, error) {
	return &attempt{keyless: true}, nil
}

// Reap deletes what is over.
func (s *Store) Reap(ctx context.Context, limit int) (idempotency.Reaped, error) {
	return s.leaser.Reap(ctx, limit)
}

// maybeDone reports whether a Leaser that failed so may have done what it was asked.
func maybeDone(err error) bool {
	return errors.Is(err, idempotency.ErrStoreUnavailable) || errors.Is(err, idempotency.ErrOutcomeUnknown)
}
