// Package opened keeps the stores that C programs have opened: the numbers they are known by, and what went wrong in words and codes.
package opened

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// Store is an open one.
type Store struct {
	*pgstore.Store

	// Lease is how long a key is lent, Retention how long a response is kept, Remember how long a key that nobody ended is remembered.
	Lease, Retention, Remember time.Duration

	pool *pgxpool.Pool
	uses sync.WaitGroup
}

// Open reads a configuration and opens a store by it. It touches no network.
func Open(text []byte) (*Store, error) {
	c, err := parse(text)
	if err != nil {
		return nil, &Failure{Code: Config, Message: "the configuration: " + err.Error()}
	}
	// pgx puts much of a URL that it cannot read into its error, and takes the password out where it finds it: not everywhere.
	config, err := pgxpool.ParseConfig(c.dsn)
	if err != nil {
		return nil, &Failure{Code: Config, Message: "the configuration: dsn cannot be read: " +
			"use postgres://user:password@host:5432/database, with what is special in a password as %40 and the like"}
	}
	config.MaxConns = c.connections
	config.MinConns = min(config.MinConns, c.connections)
	err = pgstore.Configure(config, pgstore.PoolConfig{BehindPooler: c.pooler})
	var pool *pgxpool.Pool
	if err == nil {
		pool, err = pgxpool.NewWithConfig(context.Background(), config)
	}
	if err != nil {
		return nil, &Failure{Code: Config, Message: "the configuration: " + err.Error()}
	}
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: c.schema, Timeout: c.timeout, ReadBackTimeout: c.settle})
	if err != nil {
		pool.Close()
		return nil, &Failure{Code: Config, Message: "the configuration: " + err.Error()}
	}
	return &Store{Store: store, Lease: c.lease, Retention: c.retention, Remember: c.remember, pool: pool}, nil
}

// Check asks the database whether keys can be kept there. What is wrong with it, or with the role, is for whoever has configured it.
func (s *Store) Check(ctx context.Context) error {
	err := s.Store.Check(ctx)
	if err == nil {
		return nil
	}
	failure := FailureOf(err)
	if failure.Code != Unavailable {
		failure.Code = Config
	}
	return failure
}

// Terms are what a key is lent on to a new owner.
func (s *Store) Terms(fingerprint idempotency.Fingerprint) idempotency.Terms {
	return idempotency.Terms{Owner: idempotency.NewOwnerToken(), Identity: idempotency.Identity{Fingerprint: fingerprint}, Lease: s.Lease, Remember: s.Remember}
}

// Table knows open stores by number. The zero value is empty, and ready. It is safe for concurrent use.
//
// A number holds the place of a store and which store of that place it is: once closed, it never names another one, and 0 names none.
type Table struct {
	mu     sync.Mutex
	places []place
	free   []uint32
}

type place struct {
	store      *Store
	generation uint32
}

// errNotOpen is that of every number that names no store.
var errNotOpen = &Failure{Code: Handle, Message: "the store is not open: it was closed, or is none that oo_open has returned"}

// Add gives store a number.
func (t *Table) Add(store *Store) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var at uint32
	if last := len(t.free) - 1; last >= 0 {
		at, t.free = t.free[last], t.free[:last]
	} else {
		at = uint32(len(t.places))
		t.places = append(t.places, place{})
	}
	p := &t.places[at]
	p.store = store
	p.generation++
	return uint64(p.generation)<<32 | uint64(at)
}

func (t *Table) find(number uint64) *place {
	at, generation := uint32(number), uint32(number>>32)
	if int(at) >= len(t.places) || t.places[at].store == nil || t.places[at].generation != generation {
		return nil
	}
	return &t.places[at]
}

// Use returns the store of a number, which stays open until done is called.
func (t *Table) Use(number uint64) (store *Store, done func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.find(number)
	if p == nil {
		return nil, nil, errNotOpen
	}
	p.store.uses.Add(1)
	return p.store, p.store.uses.Done, nil
}

// Close makes number name nothing, waits until its store is not used any more, and closes that.
func (t *Table) Close(number uint64) error {
	t.mu.Lock()
	p := t.find(number)
	if p == nil {
		t.mu.Unlock()
		return errNotOpen
	}
	store := p.store
	p.store = nil
	if p.generation != 1<<32-1 { // a place whose generations are used up is not used again
		t.free = append(t.free, uint32(number))
	}
	t.mu.Unlock()
	store.uses.Wait()
	store.pool.Close()
	return nil
}

// Reap deletes up to limit keys that are over, in steps that each end within the store's time-out.
func (s *Store) Reap(ctx context.Context, limit int) (deleted int, err error) {
	const most = 1000
	for deleted < limit {
		batch := min(most, limit-deleted)
		reaped, err := s.Store.Reap(ctx, batch)
		deleted += reaped.Deleted
		if err != nil || reaped.Deleted < batch {
			return deleted, err
		}
	}
	return deleted, nil
}

// Outcome is what begin tells, in onlyonce.h's numbers.
type Outcome int32

// The outcomes.
const (
	Execute Outcome = 1 + iota
	Replay
	InProgress
	Mismatch
	Absent
)

// OutcomeOf tells the two errors that are answers from the others.
func OutcomeOf(err error) (Outcome, error) {
	switch {
	case errors.Is(err, idempotency.ErrInProgress):
		return InProgress, nil
	case errors.Is(err, idempotency.ErrKeyReused):
		return Mismatch, nil
	default:
		return 0, err
	}
}
