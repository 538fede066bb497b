package pgstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// hoard is a cache that forgets nothing.
type hoard struct{ held sync.Map }

func (h *hoard) Get(key idempotency.Key) *idempotency.CachedRecord {
	record, _ := h.held.Load(key)
	cached, _ := record.(*idempotency.CachedRecord)
	return cached
}

func (h *hoard) Add(key idempotency.Key, record *idempotency.CachedRecord) { h.held.Store(key, record) }

func TestADeletedRowIsAnsweredFromMemoryUpToTheMaximalAgeAndNoLonger(t *testing.T) {
	t.Parallel()
	const maxAge = 300 * time.Millisecond
	w := newWorld(t, func(c *idempotency.Config, _ *pgstore.Config, _ *pgxpool.Config) {
		c.Cache, c.CacheMaxAge = &hoard{}, maxAge
	})
	_, err := w.run(pays(201))
	require.NoError(t, err)
	answered := time.Now() // the record was made before
	_, err = w.pool.Exec(t.Context(), `DELETE FROM idempotency_keys`)
	require.NoError(t, err)
	for {
		asked := time.Now()
		result, err := w.run(pays(201))
		require.NoError(t, err)
		if !result.Replayed {
			break
		}
		require.Less(t, asked.Sub(answered), maxAge, "an answer whose row is gone")
	}
	require.Equal(t, 2, w.effects())
	require.Equal(t, 1, w.records())
}

func TestACachedAnswerEndsWhenItsRowDoesByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.run(pays(201))
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET expires_at = clock_timestamp() + interval '300 milliseconds'`)
	require.NoError(t, err)
	set := time.Now() // 300 ms from here the row is over
	cache := &hoard{}
	w.engine, err = idempotency.New(w.store, idempotency.Config{Cache: cache, CacheMaxAge: time.Hour})
	require.NoError(t, err)
	for {
		asked := time.Now()
		result, err := w.run(pays(201))
		require.NoError(t, err)
		if !result.Replayed {
			break
		}
		require.Less(t, asked.Sub(set), 300*time.Millisecond)
	}
	require.Equal(t, 2, w.effects())
}

// What no standby has is not in memory either: neither what was committed alone, nor what was read and could not be confirmed.
func TestWhatNoStandbyHasConfirmedIsNotCached(t *testing.T) {
	t.Parallel()
	l := newLonely(t)
	l.await("nobody")
	store, _, pool := l.store("", 4)
	cache := &hoard{}
	engine, err := idempotency.New(store, idempotency.Config{Cache: cache})
	require.NoError(t, err)
	for range 2 { // the commit, and the read of what it has left
		_, err = engine.Run(t.Context(), numbered(1), created)
		require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
		require.Nil(t, cache.Get(numbered(1).Key))
	}
	l.await("")
	pool.Reset()
	result, err := engine.Run(t.Context(), numbered(1), created)
	require.NoError(t, err)
	require.True(t, result.Replayed)
	require.NotNil(t, cache.Get(numbered(1).Key))
}
