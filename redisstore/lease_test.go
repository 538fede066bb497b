package redisstore_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

// field reads a field of the key's hash as a number; 0 where there is none.
func field(t *testing.T, store *redisstore.Store, key idempotency.Key, name string) int64 {
	t.Helper()
	n, err := redisstore.Client(store).HGet(context.WithoutCancel(t.Context()), store.Name(key), name).Int64()
	if err != redis.Nil {
		require.NoError(t, err)
	}
	return n
}

func TestAZombieStoresNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, client func(t *testing.T) redis.UniversalClient) {
		for name, happens := range map[string]func(t *testing.T, next idempotency.Attempt) *idempotency.Record{
			"its successor works": func(*testing.T, idempotency.Attempt) *idempotency.Record { return nil },
			"its successor has given up": func(t *testing.T, next idempotency.Attempt) *idempotency.Record {
				require.NoError(t, next.Release(t.Context()))
				return nil
			},
			"its successor has answered": func(t *testing.T, next idempotency.Attempt) *idempotency.Record {
				want := record("successor")
				_, err := next.Complete(t.Context(), want, retention)
				require.NoError(t, err)
				return want
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				store := open(t, client(t), redisstore.Config{})
				zombie := claim(t, store, key)
				redisstore.Freeze(zombie.Context(t.Context()))
				_, _, err := store.Claim(t.Context(), key)
				require.ErrorIs(t, err, idempotency.ErrInProgress, "the lease is not over")
				require.NoError(t, redisstore.EndHold(t.Context(), store, key))
				next := claim(t, store, key)
				stands := happens(t, next)
				settled, err := zombie.Complete(t.Context(), record("zombie"), retention)
				if stands != nil {
					require.NoError(t, err)
					require.Equal(t, stands.Response, settled.Record.Response)
					answers(t, store, key, stands)
					return
				}
				require.ErrorIs(t, err, idempotency.ErrLeaseLost)
				found, err := store.Lookup(t.Context(), key)
				require.NoError(t, err)
				require.Nil(t, found)
				if name == "its successor works" {
					want := record("successor")
					settled, err := next.Complete(t.Context(), want, retention)
					require.NoError(t, err)
					require.Same(t, want, settled.Record)
				}
			})
		}
	})
}

func TestAZombieFreesNothing(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	zombie := claim(t, store, key)
	require.NoError(t, redisstore.Crash(zombie.Context(t.Context())))
	next := claim(t, store, key)
	require.ErrorIs(t, zombie.Release(t.Context()), idempotency.ErrLeaseLost)
	_, _, err := store.Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	_, err = next.Complete(t.Context(), record("next"), retention)
	require.NoError(t, err)
}

// What it has done need not be done again.
func TestAnOwnerWhoseLeaseIsOverCompletesIfNobodyHasTakenOver(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	attempt := claim(t, store, key)
	require.NoError(t, redisstore.Crash(attempt.Context(t.Context())))
	want := record("late")
	settled, err := attempt.Complete(t.Context(), want, retention)
	require.NoError(t, err)
	require.Same(t, want, settled.Record)
	answers(t, store, key, want)
}

func TestTheLeaseIsRenewedForAsLongAsTheHandlerRuns(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, client func(t *testing.T) redis.UniversalClient) {
		const lease = time.Second
		store := open(t, client(t), redisstore.Config{Lease: lease})
		engine, err := idempotency.New(store, idempotency.Config{Lease: lease})
		require.NoError(t, err)
		rival, err := idempotency.New(open(t, client(t), redisstore.Config{Prefix: redisstore.Prefix(store), Lease: lease}), idempotency.Config{Lease: lease})
		require.NoError(t, err)
		var runs atomic.Int64
		outlasts := func(ctx context.Context, name string) {
			runs.Add(1)
			first := field(t, store, key, name)
			require.Eventually(t, func() bool { return field(t, store, key, name) >= first+lease.Milliseconds() }, patience, time.Millisecond,
				"%s was not moved beyond the lease", name)
			_, err := rival.Run(t.Context(), idempotency.Request{Key: key}, func(context.Context) (idempotency.Response, error) {
				runs.Add(1)
				return idempotency.Response{}, nil
			})
			require.ErrorIs(t, err, idempotency.ErrInProgress)
			require.NoError(t, ctx.Err())
		}
		result, err := engine.Run(t.Context(), idempotency.Request{Key: key}, func(ctx context.Context) (idempotency.Response, error) {
			outlasts(ctx, "held")
			_, err := idempotency.Atomic(ctx, "step", func(ctx context.Context) (int, error) {
				outlasts(ctx, "held")
				return 1, nil
			})
			require.NoError(t, err)
			outlasts(ctx, "leased") // the tail
			return idempotency.Response{Status: 201}, nil
		})
		require.NoError(t, err)
		require.False(t, result.Replayed)
		require.EqualValues(t, 3, runs.Load())
	})
}

func TestAHandlerIsToldThatItsLeaseIsLost(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{Lease: 500 * time.Millisecond})
	attempt := claim(t, store, key)
	ctx := attempt.Context(t.Context())
	require.NoError(t, redisstore.Client(store).Del(t.Context(), store.Name(key)).Err())
	select {
	case <-ctx.Done():
		require.ErrorIs(t, context.Cause(ctx), idempotency.ErrLeaseLost)
	case <-time.After(patience):
		t.Fatal("the handler was not told")
	}
	_, err := attempt.Complete(t.Context(), record("late"), retention)
	require.ErrorIs(t, err, idempotency.ErrLeaseLost)
}

// The promise that this store does not make. With pgstore the effect of the first attempt would not be there.
func TestACrashBetweenTheEffectAndTheRecordRepeatsTheEffect(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	var effects atomic.Int64
	effects.Add(1) // of the first attempt, which dies here
	require.NoError(t, redisstore.Crash(claim(t, store, key).Context(t.Context())))
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	for range 3 {
		_, err = engine.Run(t.Context(), idempotency.Request{Key: key}, func(context.Context) (idempotency.Response, error) {
			effects.Add(1)
			return idempotency.Response{Status: 201}, nil
		})
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, effects.Load(), "once more than it should be, and not oftener")
}
