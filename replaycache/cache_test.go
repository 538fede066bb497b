package replaycache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/replaycache"
)

func newCache(t testing.TB, config replaycache.Config) *replaycache.Cache {
	cache, err := replaycache.New(config)
	require.NoError(t, err)
	return cache
}

// newEngine returns an engine over an empty store.
func newEngine(t testing.TB, config idempotency.Config) *idempotency.Engine {
	store, err := memstore.New(memstore.Config{MaxBytes: 1 << 40})
	require.NoError(t, err)
	engine, err := idempotency.New(store, config)
	require.NoError(t, err)
	return engine
}

func key(i int) idempotency.Key {
	return idempotency.Key{Scope: "alice", Value: fmt.Sprint("payment-", i)}
}

// pay runs an operation whose body has so many bytes, and reports whether it ran now.
func pay(t testing.TB, engine *idempotency.Engine, key idempotency.Key, size int) (ran bool) {
	result, err := engine.Run(t.Context(), idempotency.Request{Key: key}, func(context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 201, Body: make([]byte, size)}, nil
	})
	require.NoError(t, err)
	require.Len(t, result.Response.Body, size)
	return !result.Replayed
}

func TestWhatIsAddedIsThereAtOnce(t *testing.T) {
	t.Parallel()
	cache := newCache(t, replaycache.Config{})
	engine := newEngine(t, idempotency.Config{Cache: cache})
	for i := range 1000 {
		require.Nil(t, cache.Get(key(i)))
		require.True(t, pay(t, engine, key(i), i))
		require.NotNil(t, cache.Get(key(i)))
		require.Equal(t, i, cache.Get(key(i)).Bytes())
		other := key(i)
		other.Scope = "bob"
		require.Nil(t, cache.Get(other), "a key is of its scope")
	}
	cache.Remove(key(7))
	require.Nil(t, cache.Get(key(7)))
	require.NotNil(t, cache.Get(key(8)))
	require.Equal(t, 999, cache.Usage().Records)
	cache.Clear()
	require.Nil(t, cache.Get(key(8)))
	require.Zero(t, cache.Usage())
	require.False(t, pay(t, engine, key(7), 7), "the store has it still")
	require.NotNil(t, cache.Get(key(7)))
}

func TestTheBoundHolds(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	cache := newCache(t, replaycache.Config{MaxBytes: most})
	engine := newEngine(t, idempotency.Config{Cache: cache})
	for i := range 5000 {
		pay(t, engine, key(i), 1000)
		if i%100 == 0 {
			require.LessOrEqual(t, cache.Usage().Bytes, most)
		}
	}
	usage := cache.Usage()
	assert.LessOrEqual(t, usage.Bytes, most)
	assert.Greater(t, usage.Bytes, most*9/10, "the room is used")
	assert.InDelta(t, replaycache.Overhead+len("alice")+len("payment-1234")+1000, usage.Bytes/usage.Records, 2, "all is counted")
}

func TestALargeRecordIsNotHeld(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config replaycache.Config
		most   int
	}{
		"the default":       {replaycache.Config{}, 1 << 20},
		"a small cache":     {replaycache.Config{MaxBytes: 4 << 10}, replaycache.Overhead + 1<<10},
		"one that was said": {replaycache.Config{MaxBytes: 1 << 20, MaxRecordBytes: 1000}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := newCache(t, test.config)
			engine := newEngine(t, idempotency.Config{Cache: cache, MaxResponseBytes: 2 << 20})
			fits := test.most - replaycache.Overhead - len("alice") - len("payment-1")
			pay(t, engine, key(1), fits)
			assert.NotNil(t, cache.Get(key(1)))
			pay(t, engine, key(2), fits+1)
			assert.Nil(t, cache.Get(key(2)))
			assert.False(t, pay(t, engine, key(2), fits+1), "the store is asked")
		})
	}
}

func TestWhatCannotAnswerAnyMoreIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t, replaycache.Config{})
		engine := newEngine(t, idempotency.Config{Cache: cache, CacheMaxAge: 10 * time.Second, Retention: 15 * time.Second})
		pay(t, engine, key(1), 100)
		time.Sleep(10*time.Second - 1)
		require.NotNil(t, cache.Get(key(1)))
		time.Sleep(time.Nanosecond)
		require.Nil(t, cache.Get(key(1)))
		require.False(t, pay(t, engine, key(1), 100))
		require.NotNil(t, cache.Get(key(1)))
		require.Equal(t, 5*time.Second, cache.Get(key(1)).Left(), "its retention ends before its age")
		time.Sleep(5 * time.Second)
		require.Nil(t, cache.Get(key(1)))
		require.True(t, pay(t, engine, key(1), 100))

		for i := range 1000 {
			pay(t, engine, key(i), 100)
		}
		time.Sleep(time.Minute)
		pay(t, engine, key(-1), 100)
		require.Equal(t, 1, cache.Usage().Records, "room is made")
	})
}

func TestAConstructorLeavesNoGoroutineBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // which does not end before its goroutines have
		cache := newCache(t, replaycache.Config{})
		engine := newEngine(t, idempotency.Config{Cache: cache})
		for i := range 100 {
			pay(t, engine, key(i), 100)
		}
	})
}

func TestManyMayUseACacheAtOnce(t *testing.T) {
	t.Parallel()
	cache := newCache(t, replaycache.Config{MaxBytes: 64 << 10})
	engine := newEngine(t, idempotency.Config{Cache: cache, Wait: time.Minute})
	var all sync.WaitGroup
	ran := make([]int, 8)
	for w := range ran {
		all.Go(func() {
			for i := range 2000 {
				if pay(t, engine, key(i*(w+1)%500), i*(w+1)%500) {
					ran[w]++
				}
				if i%97 == 0 {
					cache.Remove(key(i % 500))
					cache.Usage()
				}
			}
		})
	}
	all.Wait()
	total := 0
	for _, n := range ran {
		total += n
	}
	require.LessOrEqual(t, total, 500, "each once, whatever the cache did")
}

func TestABoundThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, config := range []replaycache.Config{
		{MaxBytes: -1}, {MaxBytes: 4095}, {MaxRecordBytes: -1}, {MaxBytes: 1 << 20, MaxRecordBytes: 1<<20 + 1},
		{MaxBytes: 1 << 40, MaxRecordBytes: 1 << 33},
	} {
		_, err := replaycache.New(config)
		require.ErrorContains(t, err, "replaycache: Config.Max")
	}
}
