// Package memstore keeps idempotency keys in memory: for tests, demos, and services of a single process whose effects are in
// memory too. It keeps the whole contract of idempotency.Store but one: it has no transaction that a handler could write
// in, so that what a refused or failed handler or step did is not rolled back; and the keys, pending ones too, end with the
// process.
package memstore

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Config configures a [Store]. The zero value works.
type Config struct {
	// MaxBytes bounds what is kept: keys, headers and bodies, steps and requests of pending keys, and about 200 bytes for each, lent ones too.
	// A full store takes no new key until old ones expire, since a key that is forgotten early would take effect twice; a
	// pending one is resumed all the same, and never expires. Default: 64 MiB.
	MaxBytes int
	// Now is the store's clock. Default: time.Now.
	Now func() time.Time
}

// Store implements [idempotency.Store]. It starts no goroutine: what has expired is dropped when room is needed, and by Reap.
type Store struct {
	config Config

	mu      sync.Mutex
	working map[idempotency.Key]*attempt
	pending map[idempotency.Key]*pending
	lent    map[idempotency.Key]*loan
	scopes  map[string]int // how many of them are pending
	kept    map[idempotency.Key]*kept
	expiry  expiry
	bytes   int
	tokens  uint64 // how many owner tokens there have been
}

type kept struct {
	key     idempotency.Key
	record  *idempotency.Record
	owner   idempotency.OwnerToken // of the loan that it ended
	expires time.Time
}

// overhead is what a record costs beside its bytes: map entry, heap entry, headers of strings and slices.
const overhead = 200

func (k *kept) size() int {
	return overhead + len(k.key.Scope) + len(k.key.Value) + len(k.record.Response.Header) + len(k.record.Response.Body)
}

// New returns an empty Store, or an error that says what is wrong with config.
func New(config Config) (*Store, error) {
	if config.MaxBytes < 0 {
		return nil, fmt.Errorf("memstore: Config.MaxBytes is %d: give a positive number, or 0 for the default", config.MaxBytes)
	}
	if config.MaxBytes == 0 {
		config.MaxBytes = 64 << 20
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Store{
		config:  config,
		working: map[idempotency.Key]*attempt{},
		pending: map[idempotency.Key]*pending{},
		lent:    map[idempotency.Key]*loan{},
		scopes:  map[string]int{},
		kept:    map[idempotency.Key]*kept{},
	}, nil
}

// Transactional reports false: what a handler did in memory before it failed stays.
func (s *Store) Transactional() bool { return false }

var errFull = idempotency.ErrStoreUnavailable.Because(errors.New(
	"memstore: full of keys whose retention is not over: raise Config.MaxBytes, or shorten the retention"))

// Claim starts an attempt at key.
func (s *Store) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, nil, idempotency.ErrStoreUnavailable.Because(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if record := s.find(key); record != nil {
		return nil, record, nil
	}
	if s.working[key] != nil || s.lent[key] != nil {
		return nil, nil, idempotency.ErrInProgress
	}
	if row := s.pending[key]; row != nil {
		return s.takeOver(key, row)
	}
	if err := s.room(); err != nil {
		return nil, nil, err
	}
	a := &attempt{kept: kept{key: key}, store: s}
	s.working[key] = a
	return a, nil, nil
}

// room says that the store is full.
func (s *Store) room() error {
	if s.bytes >= s.config.MaxBytes {
		s.reap(len(s.expiry))
	}
	if s.bytes >= s.config.MaxBytes {
		return errFull
	}
	return nil
}

// Lookup returns the record of key, or nil.
func (s *Store) Lookup(_ context.Context, key idempotency.Key) (*idempotency.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(key), nil
}

// Begin starts an attempt without a key.
func (s *Store) Begin(context.Context) (idempotency.Attempt, error) {
	return &attempt{store: s, keyless: true}, nil
}

// Reap deletes up to limit expired records, and lent keys that need not be remembered any more.
func (s *Store) Reap(_ context.Context, limit int) (idempotency.Reaped, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	deleted := s.reap(limit)
	return idempotency.Reaped{Deleted: deleted + s.reapLent(limit-deleted)}, nil
}

func (s *Store) find(key idempotency.Key) *idempotency.Record {
	k := s.kept[key]
	if k == nil {
		return nil
	}
	left := k.expires.Sub(s.config.Now())
	if left <= 0 {
		return nil
	}
	found := *k.record // which is shared with those who have it already
	found.Left = left
	return &found
}

func (s *Store) reap(limit int) (deleted int) {
	now := s.config.Now()
	for ; deleted < limit && len(s.expiry) > 0 && !now.Before(s.expiry[0].expires); deleted++ {
		k := heap.Pop(&s.expiry).(*kept)
		s.bytes -= k.size()
		if s.kept[k.key] == k {
			delete(s.kept, k.key)
		}
	}
	return deleted
}

func (s *Store) keep(k *kept) {
	s.kept[k.key] = k // an expired one of the same key stays in the heap, and is accounted for, until it is reaped
	heap.Push(&s.expiry, k)
	s.bytes += k.size()
}

// attempt is the exclusive work on one key, and becomes what is kept of it.
type attempt struct {
	kept
	store   *Store
	hold    *hold // nil while the key has no pending row of this attempt's
	keyless bool
	over    bool
}

var errOver = errors.New("memstore: the attempt is over: one of Complete, Refuse, Release and Yield ends it, once")

func (a *attempt) Context(ctx context.Context) context.Context { return ctx }

func (a *attempt) Complete(_ context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := a.end(); err != nil {
		return idempotency.Settled{}, err
	}
	if a.hold != nil {
		if stands := s.find(a.key); stands != nil {
			return idempotency.Settled{Record: stands}, nil
		}
		if err := a.compare(); err != nil {
			return idempotency.Settled{}, err
		}
		s.forget(a.key)
	}
	if !a.keyless {
		a.record, a.expires = record, s.config.Now().Add(retention)
		s.keep(&a.kept)
	}
	return idempotency.Settled{Record: record}, nil
}

func (a *attempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	return a.Complete(ctx, record, retention)
}

func (a *attempt) Release(context.Context) error {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	return a.end()
}

func (a *attempt) end() error {
	if a.over {
		return errOver
	}
	a.over = true
	a.unlock()
	return nil
}

// unlock lets others claim the key, unless a lease keeps them out.
func (a *attempt) unlock() {
	if a.store.working[a.key] == a {
		delete(a.store.working, a.key)
	}
}

// expiry is a heap of records, the one that expires first on top.
type expiry []*kept

func (e expiry) Len() int           { return len(e) }
func (e expiry) Less(i, j int) bool { return e[i].expires.Before(e[j].expires) }
func (e expiry) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *expiry) Push(k any)        { *e = append(*e, k.(*kept)) }
func (e *expiry) Pop() any {
	last := len(*e) - 1
	k := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return k
}
