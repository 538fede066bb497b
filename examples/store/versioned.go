// Package store has two stores of idempotency keys to copy: [Versioned], on a storage that compares before it writes, and [Locked],
// on one that has Get, Set and Lock. docs/stores.md says what each of them promises.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Table is a storage that compares before it writes: etcd, Consul, NATS, DynamoDB, a table in SQL. Its methods end within a bound of
// their own, even when ctx has none.
type Table interface {
	// Get returns a name's value and its version; version 0 says that there is none.
	Get(ctx context.Context, name string) (value []byte, version uint64, err error)
	// Swap puts value in the place of that version (0: of none), for life by the storage's own clock, and returns its new version,
	// which the name never had before. A nil value deletes. ErrStale says that the version was another one.
	Swap(ctx context.Context, name string, version uint64, value []byte, life time.Duration) (uint64, error)
}

// ErrStale is what Table.Swap returns in vain.
var ErrStale = errors.New("the version is another one by now")

// Versioned keeps a key as one value: a mark while an attempt is at work, then its record. The mark's version is the attempt's owner token.
type Versioned struct {
	table Table
	lease time.Duration
}

// NewVersioned returns one whose marks live for lease: for so long the key of a crashed attempt is blocked. It must be longer than
// idempotency.Config.HandlerTimeout, since a handler that outlives its mark may be run a second time beside it.
func NewVersioned(table Table, lease time.Duration) (*Versioned, error) {
	if table == nil || lease < time.Second {
		return nil, fmt.Errorf("store: NewVersioned needs a table, and a lease of a second or more, not %v: longer than HandlerTimeout", lease)
	}
	return &Versioned{table, lease}, nil
}

const mark = "working" // which is not JSON, as records are

// Claim puts the mark. If there is something already, that is the answer.
func (s *Versioned) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	version, err := s.table.Swap(ctx, nameOf(key), 0, []byte(mark), s.lease)
	switch {
	case err == nil:
		return &attempt{store: s, name: nameOf(key), version: version}, nil, nil
	case !errors.Is(err, ErrStale):
		return nil, nil, idempotency.ErrStoreUnavailable.Because(err)
	}
	record, err := s.Lookup(ctx, key)
	if record == nil && err == nil {
		err = idempotency.ErrInProgress
	}
	return nil, record, err
}

// Lookup returns the record, if that is what there is.
func (s *Versioned) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	return s.lookup(ctx, nameOf(key))
}

func (s *Versioned) lookup(ctx context.Context, name string) (*idempotency.Record, error) {
	value, version, err := s.table.Get(ctx, name)
	switch {
	case err != nil:
		return nil, idempotency.ErrStoreUnavailable.Because(err)
	case version == 0 || string(value) == mark:
		return nil, nil
	}
	return decoded(value)
}

// Begin starts an attempt without a key, of which nothing is kept.
func (s *Versioned) Begin(context.Context) (idempotency.Attempt, error) { return &attempt{}, nil }

// Reap has nothing to do: the storage drops what has lived long enough.
func (s *Versioned) Reap(context.Context, int) (idempotency.Reaped, error) {
	return idempotency.Reaped{}, nil
}

type attempt struct {
	store   *Versioned // nil without a key
	name    string
	version uint64
	over    atomic.Bool
}

var errOver = errors.New("store: the attempt is over")

func (a *attempt) Context(ctx context.Context) context.Context { return ctx }

// Complete puts the record in the place of the mark, if that is still this attempt's. The reply may be lost: then what is there says
// whose record stands, and where that cannot be learned the outcome is unknown.
func (a *attempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	if a.over.Swap(true) {
		return idempotency.Settled{}, errOver
	}
	if a.store == nil {
		return idempotency.Settled{}, nil
	}
	_, err := a.store.table.Swap(ctx, a.name, a.version, encoded(record), retention)
	if err == nil {
		return idempotency.Settled{Record: record}, nil
	}
	stands, unknown := a.store.lookup(ctx, a.name)
	switch {
	case unknown == nil && stands != nil:
		return idempotency.Settled{Record: stands}, nil
	case errors.Is(err, ErrStale):
		return idempotency.Settled{}, idempotency.ErrLeaseLost
	}
	return idempotency.Settled{}, idempotency.ErrOutcomeUnknown.Because(err)
}

// Refuse is Complete: there are no writes to roll back.
func (a *attempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	return a.Complete(ctx, record, retention)
}

// Release takes the mark away, if it is still this attempt's.
func (a *attempt) Release(ctx context.Context) error {
	if a.over.Swap(true) {
		return errOver
	}
	if a.store == nil {
		return nil
	}
	if _, err := a.store.table.Swap(ctx, a.name, a.version, nil, 0); err != nil && !errors.Is(err, ErrStale) {
		return idempotency.ErrStoreUnavailable.Because(err)
	}
	return nil
}

// nameOf makes one name of scope and key that no other two have, whatever their bytes and lengths.
func nameOf(key idempotency.Key) string {
	return fmt.Sprintf("idempotency-%x", sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(key.Scope), key.Scope, key.Value)))
}

func encoded(record *idempotency.Record) []byte {
	value, _ := json.Marshal(record) // bytes and numbers cannot fail
	return value
}

func decoded(value []byte) (*idempotency.Record, error) {
	record := new(idempotency.Record)
	if err := json.Unmarshal(value, record); err != nil {
		return nil, idempotency.ErrRecordUnreadable.Because(err)
	}
	record.Left = 0 // which no clock of ours can tell
	return record, nil
}
