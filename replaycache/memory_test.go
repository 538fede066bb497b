package replaycache_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/replaycache"
)

// The bound would be none if a record took more than it is counted for. Not in parallel: it looks at all of the heap.
func TestARecordTakesNoMoreMemoryThanItIsCountedFor(t *testing.T) {
	const records = 4000
	for _, size := range []int{0, 100, 1000, 3000} {
		cache := newCache(t, replaycache.Config{MaxBytes: 1 << 30})
		engine, err := idempotency.New(forgetful{}, idempotency.Config{Cache: cache})
		require.NoError(t, err)
		for i := range records {
			large := strings.Repeat("x", 5000) + fmt.Sprint(i) // a key that is part of something large does not hold it
			k := idempotency.Key{Scope: "alice", Value: large[4980:]}
			pay(t, engine, k, size)
			if i == 0 {
				require.NotNil(t, cache.Get(k))
			}
		}
		usage := cache.Usage()
		require.Equal(t, records, usage.Records)
		full := heap()
		runtime.KeepAlive(cache)
		runtime.KeepAlive(engine)
		cache, engine = nil, nil
		freed := full - heap()
		t.Logf("a body of %d bytes: %d bytes taken, %d counted", size, freed/records, usage.Bytes/records)
		assert.LessOrEqual(t, freed, usage.Bytes)
		assert.Greater(t, freed, usage.Bytes/4, "or what was measured was something else")
	}
}

func heap() int {
	var stats runtime.MemStats
	for range 2 { // the second one frees what the first one found to be free
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// forgetful is a store that keeps nothing, so that the cache is all that holds anything.
type forgetful struct{ idempotency.Store }

func (forgetful) Claim(context.Context, idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	return forgetting{}, nil, nil
}

type forgetting struct{ idempotency.Attempt }

func (forgetting) Context(ctx context.Context) context.Context { return ctx }

func (forgetting) Complete(_ context.Context, record *idempotency.Record, _ time.Duration) (idempotency.Settled, error) {
	return idempotency.Settled{Record: record}, nil
}
