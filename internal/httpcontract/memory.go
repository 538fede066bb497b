package httpcontract

import (
	"context"
	"sync"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// Memory is a store in memory whose records can be damaged.
type Memory struct {
	*memstore.Store
	mu      sync.Mutex
	damaged map[idempotency.Key]idempotency.Response
}

// NewMemory returns an empty Memory.
func NewMemory() (*Memory, error) {
	store, err := memstore.New(memstore.Config{})
	return &Memory{Store: store, damaged: map[idempotency.Key]idempotency.Response{}}, err
}

// Damage puts response into the record of key.
func (m *Memory) Damage(key idempotency.Key, response idempotency.Response) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.damaged[key] = response
}

// Claim returns a damaged record as it is now.
func (m *Memory) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := m.Store.Claim(ctx, key)
	return attempt, m.asItIs(key, record), err
}

// Lookup returns a damaged record as it is now.
func (m *Memory) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	record, err := m.Store.Lookup(ctx, key)
	return m.asItIs(key, record), err
}

func (m *Memory) asItIs(key idempotency.Key, record *idempotency.Record) *idempotency.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	response, damaged := m.damaged[key]
	if record == nil || !damaged {
		return record
	}
	return &idempotency.Record{Fingerprint: record.Fingerprint, Response: response, Left: record.Left}
}
