package redisstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

func TestOfTwoClientsThatRaceForKeysOneExecutesEach(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, client func(t *testing.T) redis.UniversalClient) {
		const keys, racers = 200, 8
		one := open(t, client(t), redisstore.Config{})
		stores := []*redisstore.Store{one, open(t, client(t), redisstore.Config{Prefix: redisstore.Prefix(one)})}
		// An engine for each racer: what meets in one engine is told apart in memory, and not here.
		var engines []*idempotency.Engine
		for racer := range racers {
			engine, err := idempotency.New(stores[racer%len(stores)], idempotency.Config{Wait: patience})
			require.NoError(t, err)
			engines = append(engines, engine)
		}
		var runs [keys]atomic.Int64
		var racing sync.WaitGroup
		for racer := range racers {
			racing.Go(func() {
				for n := range keys {
					key := idempotency.Key{Scope: "alice", Value: fmt.Sprint("race-", n)}
					result, err := engines[racer].Run(t.Context(), idempotency.Request{Key: key}, func(context.Context) (idempotency.Response, error) {
						return idempotency.Response{Status: 201, Body: fmt.Append(nil, "run ", runs[n].Add(1))}, nil
					})
					assert.NoError(t, err)
					assert.Equal(t, "run 1", string(result.Response.Body))
				}
			})
		}
		racing.Wait()
		for n := range keys {
			require.EqualValues(t, 1, runs[n].Load(), "key %d", n)
		}
	})
}
