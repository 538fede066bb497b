package redisstore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

// behind returns a store whose every word goes through a cutter.
func behind(t *testing.T, config redisstore.Config, change ...func(o *redis.Options)) (*redisstore.Store, *cutter) {
	t.Helper()
	options, err := single()
	orSkip(t, err)
	if options.TLSConfig != nil || options.Network == "unix" {
		t.Skip("NOT RUN: the cutter reads what is sent, and REDIS_URL names a server that is not to be read")
	}
	c := cut(t, options.Addr)
	whole := func(o *redis.Options) {
		*o = *options
		o.Addr = c.address()
	}
	return open(t, at(t, c.address(), append([]func(*redis.Options){whole}, change...)...), config), c
}

// once has the client send nothing again by itself.
func once(o *redis.Options) { o.MaxRetries = -1 }

func TestACompletionWhoseReplyIsLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(o *redis.Options){
		"by the store":                once,
		"by the client":               func(*redis.Options) {},
		"by the store, several times": once,
	} {
		for _, request := range []bool{false, true} {
			what := "the reply"
			if request {
				what = "the request"
			}
			t.Run(what+", "+name, func(t *testing.T) {
				t.Parallel()
				store, cutter := behind(t, redisstore.Config{}, change)
				attempt := claim(t, store, key)
				times := 1
				if strings.HasSuffix(name, "times") {
					times = 4
				}
				lost := cutter.add("lost-body", times, request)
				want := record("lost-body")
				settled, err := attempt.Complete(t.Context(), want, retention)
				require.NoError(t, err)
				require.Same(t, want, settled.Record)
				require.Equal(t, times, cutter.times(lost), "the fault was not there")
				if !request || change != nil && name != "by the client" {
					require.True(t, settled.ReadBack)
				}
				answers(t, store, key, want)
			})
		}
	}
}

func TestACompletionThatCannotBeAskedForIsUnknown(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]bool{"it has happened": true, "it has not happened": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, cutter := behind(t, redisstore.Config{ReadBackTimeout: 3 * time.Second}, once)
			attempt := claim(t, store, key)
			if happens {
				cutter.loseReply("lost-body", 1)
				cutter.loseRequest("lost-body", 1<<30)
			} else {
				cutter.goDown(true)
			}
			_, err := attempt.Complete(t.Context(), record("lost-body"), retention)
			require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
			cutter.goDown(false)
			again := open(t, client(t), redisstore.Config{Prefix: redisstore.Prefix(store)})
			if happens {
				answers(t, again, key, record("lost-body"))
				return
			}
			_, _, err = again.Claim(t.Context(), key)
			require.ErrorIs(t, err, idempotency.ErrInProgress, "until the lease is over")
			require.NoError(t, redisstore.EndHold(t.Context(), again, key))
			complete(t, again, key, "retried")
		})
	}
}

func TestACompletionByAClientThatIsClosedIsUnknownAtOnce(t *testing.T) {
	t.Parallel()
	closed := client(t)
	store := open(t, closed, redisstore.Config{ReadBackTimeout: time.Hour})
	attempt := claim(t, store, key)
	require.NoError(t, closed.Close())
	_, err := attempt.Complete(t.Context(), record("late"), retention)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
}

func TestAClaimWhoseReplyIsLostIsGivenBack(t *testing.T) {
	t.Parallel()
	store, cutter := behind(t, redisstore.Config{}, once)
	complete(t, store, idempotency.Key{Scope: "alice", Value: "so that the scripts are known"}, "x")
	lost := cutter.loseReply(store.Name(key), 1)
	_, _, err := store.Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.Equal(t, 1, cutter.times(lost))
	complete(t, store, key, "retried at once")
}

func TestAClaimWhoseContextEndsMeanwhileIsGivenBack(t *testing.T) {
	t.Parallel()
	options, err := single()
	orSkip(t, err)
	heeding := *options
	heeding.ContextTimeoutEnabled = true
	store := open(t, closing(t, redis.NewClient(&heeding)), redisstore.Config{})
	for i := range 50 { // somewhere between before and after
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
		attempt, _, err := store.Claim(ctx, key)
		cancel()
		if err == nil {
			require.NoError(t, attempt.Release(t.Context()))
		} else {
			require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
		}
		complete(t, store, idempotency.Key{Scope: "alice", Value: time.Duration(i).String()}, "another")
	}
	require.Eventually(t, func() bool { // what was on its way may still come
		attempt, _, err := store.Claim(t.Context(), key)
		return err == nil && attempt.Release(t.Context()) == nil
	}, patience, time.Millisecond)
}

func TestARecoveryPointWhoseReplyIsLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	store, cutter := behind(t, redisstore.Config{}, once)
	attempt := claim(t, store, key).(idempotency.Chain)
	for _, point := range []string{"first-point", "second-point"} {
		lost := cutter.loseReply(point, 2)
		require.NoError(t, attempt.Begin(t.Context()))
		require.NoError(t, attempt.Save(t.Context(), idempotency.Progress{RecoveryPoint: point, Attempt: 1}, time.Hour))
		require.Equal(t, 2, cutter.times(lost))
	}
	n, err := attempt.(idempotency.PendingCounter).CountPending(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n, "it was counted once")
	want := record("done")
	settled, err := attempt.Complete(t.Context(), want, retention)
	require.NoError(t, err)
	require.Same(t, want, settled.Record)
}

func TestAStoreThatIsDownRunsNothing(t *testing.T) {
	t.Parallel()
	store, cutter := behind(t, redisstore.Config{}, once)
	want := complete(t, store, key, "before")
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	cutter.goDown(true)
	for _, value := range []string{key.Value, "another"} {
		_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: value}}, func(context.Context) (idempotency.Response, error) {
			t.Error("the handler ran")
			return idempotency.Response{}, nil
		})
		require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	}
	_, err = store.Lookup(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	_, err = store.Pending(t.Context(), idempotency.Due{Limit: 1})
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorIs(t, store.Check(t.Context()), idempotency.ErrStoreUnavailable)
	cutter.goDown(false)
	answers(t, store, key, want)
}
