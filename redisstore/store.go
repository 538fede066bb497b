package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Store implements [idempotency.Store] on Redis. It is safe for concurrent use.
type Store struct {
	client redis.UniversalClient
	config Config
}

var (
	_ idempotency.Recoverer     = (*Store)(nil)
	_ idempotency.Transactional = (*Store)(nil)
)

// New returns a Store on client, or an error that says what is wrong with either. Whose data the client may see and by which connection, TLS and
// ACL, is the client's. It opens no connection; call [Store.Check] at start. The store never closes client.
func New(client redis.UniversalClient, config Config) (*Store, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkClient(client, config); err != nil {
		return nil, err
	}
	return &Store{client: client, config: config}, nil
}

// Transactional reports false: what a handler does is not done in Redis.
func (s *Store) Transactional() bool { return false }

// lingers is for how much longer than its lease the hash of a claim stays. Somebody else may take it over meanwhile; where nobody does, its
// owner may still complete it, and what it has done need not be done again.
const lingers = 10 * time.Minute

// Claim starts an attempt at key, in one round trip. The lease begins with it, and is renewed until the attempt ends. A claim whose reply is lost
// is given back, as far as that can be told to Redis, and else blocks the key for a lease.
func (s *Store) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, nil, idempotency.ErrStoreUnavailable.Because(err)
	}
	a := &attempt{store: s, key: key, place: s.place(key), holder: token(), lease: s.config.Lease}
	asked := time.Now()
	answer, err := s.written(ctx, claimScript, a.place.alone(), a.holder, milliseconds(a.lease), milliseconds(lingers))
	if err == nil && time.Since(asked) >= a.lease/2 { // it could not be relied upon to be renewed in time
		err = errors.New("redisstore: the claim was answered when half of its lease was over: the server, or the way to it, is slow; or Config.Lease is too short")
	}
	if err != nil {
		if mayHaveRun(err) {
			_ = a.release(context.WithoutCancel(ctx))
		}
		return nil, nil, refusedBy(err)
	}
	switch answer.word() {
	case "working":
		return nil, nil, idempotency.ErrInProgress
	case "completed":
		record, err := answer.record()
		return nil, record, err
	case "claimed":
	case "pending":
		if err := a.takeOver(answer); err != nil {
			_ = a.release(context.WithoutCancel(ctx))
			return nil, nil, err
		}
	default:
		return nil, nil, errUnreadable
	}
	a.keepRenewing(asked)
	return a, nil, nil
}

// Lookup returns the record of key, or nil, in one round trip.
func (s *Store) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	p := s.place(key)
	answer, err := s.ask(ctx, lookupScript, p.alone())
	if err != nil {
		return nil, refusedBy(err)
	}
	if answer.word() != "completed" {
		return nil, nil
	}
	return answer.record()
}

// Begin starts an attempt without a key. There is nothing to do for it: Redis is not asked, and what the handler does is not rolled back.
func (s *Store) Begin(context.Context) (idempotency.Attempt, error) { return &keyless{}, nil }

// Reap does nothing: Redis itself drops what is over.
func (s *Store) Reap(context.Context, int) (idempotency.Reaped, error) {
	return idempotency.Reaped{}, nil
}
