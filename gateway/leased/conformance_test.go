package leased_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/leased"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/pgstore"
)

// clocked is a store in memory whose clock is moved by hand, and stands still otherwise.
type clocked struct {
	*memstore.Store
	ahead atomic.Int64
}

func newClocked(t *testing.T) *clocked {
	t.Helper()
	c, start := &clocked{}, time.Now()
	var err error
	c.Store, err = memstore.New(memstore.Config{Now: func() time.Time { return start.Add(time.Duration(c.ahead.Load())) }})
	require.NoError(t, err)
	return c
}

func (c *clocked) advance(by time.Duration) { c.ahead.Add(int64(by)) }

// perKey has a store in memory for each key, so that the time of one can pass alone.
type perKey struct {
	*clocked // of no key
	t        *testing.T
	mu       sync.Mutex
	stores   map[idempotency.Key]*clocked
}

func (p *perKey) of(key idempotency.Key) *clocked {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stores[key] == nil {
		p.stores[key] = newClocked(p.t)
	}
	return p.stores[key]
}

func (p *perKey) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	return p.of(key).Acquire(ctx, key, terms)
}

func (p *perKey) Settle(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration) (bool, error) {
	runtime.Gosched() // to who may take a key that is worked on: nothing else takes time here
	return p.of(key).Settle(ctx, key, owner, record, retention)
}

func (p *perKey) Free(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken) error {
	return p.of(key).Free(ctx, key, owner)
}

func (p *perKey) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	return p.of(key).Lookup(ctx, key)
}

func (p *perKey) Reap(ctx context.Context, limit int) (total idempotency.Reaped, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, store := range p.stores {
		reaped, err := store.Reap(ctx, limit-total.Deleted)
		if total.Deleted += reaped.Deleted; err != nil || total.Deleted == limit {
			return total, err
		}
	}
	return total, nil
}

func TestAStoreOfLeasesConformsInMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		lender := &perKey{clocked: newClocked(t), t: t, stores: map[idempotency.Key]*clocked{}}
		store, err := leased.New(lender, leased.Config{Lease: time.Hour})
		require.NoError(t, err)
		return storetest.Subject{Store: store, Peer: store, Expire: func(_ context.Context, key idempotency.Key) error {
			lender.of(key).advance(2 * time.Hour)
			return nil
		}}
	})
}

func TestAStoreOfLeasesConformsOnPostgres(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		schema := pgtest.Schema(t)
		pool := pgtest.Pool(t, schema)
		open := func() *leased.Store {
			lender, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema})
			require.NoError(t, err)
			store, err := leased.New(lender, leased.Config{Lease: time.Hour})
			require.NoError(t, err)
			return store
		}
		return storetest.Subject{Store: open(), Peer: open(), Expire: func(ctx context.Context, key idempotency.Key) error {
			tag, err := pool.Exec(ctx, `UPDATE idempotency_keys SET expires_at = now() - interval '1 second' WHERE scope = $1 AND key = $2 AND state = 'completed'`, key.Scope, key.Value)
			if err == nil && tag.RowsAffected() != 1 {
				return fmt.Errorf("%d rows expired, want 1", tag.RowsAffected())
			}
			return err
		}}
	})
}

var errAway = idempotency.ErrStoreUnavailable.Because(errors.New("the store is away"))
