package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

var request = idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "payment-1"}}

// gated is a store whose claims wait at a gate, and are counted.
type gated struct {
	idempotency.Store
	claims, lookups atomic.Int32
	arrived         chan struct{}
	open            chan struct{}
	err             error
}

func (g *gated) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	g.claims.Add(1)
	if g.open != nil {
		g.arrived <- struct{}{}
		<-g.open
	}
	if g.err != nil {
		return nil, nil, g.err
	}
	return g.Store.Claim(ctx, key)
}

func (g *gated) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	g.lookups.Add(1)
	return g.Store.Lookup(ctx, key)
}

func memory(t *testing.T) *memstore.Store {
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	return store
}

func engineOn(t *testing.T, store idempotency.Store, config idempotency.Config) *idempotency.Engine {
	engine, err := idempotency.New(store, config)
	require.NoError(t, err)
	return engine
}

func answers(body string) idempotency.Handler {
	return func(context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 201, Body: []byte(body)}, nil
	}
}

func never(t *testing.T) idempotency.Handler {
	return func(context.Context) (idempotency.Response, error) {
		t.Error("the handler ran")
		return idempotency.Response{}, nil
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	_, err := idempotency.New(nil, idempotency.Config{})
	require.ErrorContains(t, err, "needs a store")
	_, err = idempotency.New(memory(t), idempotency.Config{Retention: time.Millisecond, Reruns: -1})
	require.ErrorContains(t, err, "Config.Retention is 1ms: give at least 1s")
	require.ErrorContains(t, err, "Config.Reruns is -1")
}

func TestARetryIsReplayedByOneLookup(t *testing.T) {
	t.Parallel()
	store := &gated{Store: memory(t)}
	engine := engineOn(t, store, idempotency.Config{})
	_, err := engine.Run(t.Context(), request, answers("first"))
	require.NoError(t, err)
	for range 3 {
		result, err := engine.Run(t.Context(), request, never(t))
		require.NoError(t, err)
		require.True(t, result.Replayed)
		require.Equal(t, "first", string(result.Response.Body))
	}
	require.EqualValues(t, 1, store.claims.Load())
	require.EqualValues(t, 3, store.lookups.Load())

	result, err := engineOn(t, store, idempotency.Config{}).Run(t.Context(), request, never(t))
	require.NoError(t, err)
	require.True(t, result.Replayed, "another process claims first, and finds the record")
	require.EqualValues(t, 2, store.claims.Load())
	require.EqualValues(t, 3, store.lookups.Load())
}

func TestAProcessRemembersWhatItHasReplayed(t *testing.T) {
	t.Parallel()
	store := &gated{Store: memory(t)}
	_, err := engineOn(t, store, idempotency.Config{}).Run(t.Context(), request, answers("first"))
	require.NoError(t, err)
	other := engineOn(t, store, idempotency.Config{})
	for range 3 {
		_, err := other.Run(t.Context(), request, never(t))
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, store.claims.Load())
	require.EqualValues(t, 2, store.lookups.Load())
}

func TestDuplicatesThatArriveDuringTheClaimShareItsOutcome(t *testing.T) {
	t.Parallel()
	inner := memory(t)
	_, err := engineOn(t, inner, idempotency.Config{}).Run(t.Context(), request, answers("stored"))
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		err  error
	}{
		{"a record", nil},
		{"in progress elsewhere", idempotency.ErrInProgress},
		{"a store that is down", idempotency.ErrStoreUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &gated{Store: inner, arrived: make(chan struct{}, 50), open: make(chan struct{}), err: c.err}
				engine := engineOn(t, store, idempotency.Config{})
				var herd sync.WaitGroup
				for range 50 {
					herd.Go(func() {
						result, err := engine.Run(t.Context(), request, never(t))
						if c.err != nil {
							assert.ErrorIs(t, err, c.err)
							return
						}
						assert.NoError(t, err)
						assert.Equal(t, "stored", string(result.Response.Body))
					})
				}
				synctest.Wait() // one is at the gate, and all the others wait for it
				close(store.open)
				herd.Wait()
				require.EqualValues(t, 1, store.claims.Load(), "duplicates asked the store by themselves")
			})
		})
	}
}

func TestADuplicateTakesOverFromAClientThatLeavesDuringTheClaim(t *testing.T) {
	t.Parallel()
	store := &gated{Store: memory(t), arrived: make(chan struct{}), open: make(chan struct{})}
	engine := engineOn(t, store, idempotency.Config{})
	leaves, leave := context.WithCancel(t.Context())
	var both sync.WaitGroup
	both.Go(func() {
		_, err := engine.Run(leaves, request, never(t))
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-store.arrived
	both.Go(func() {
		_, err := engine.Run(t.Context(), request, answers("the duplicate's"))
		assert.NoError(t, err)
	})
	require.Eventually(t, func() bool { return engine.Followers(request.Key) }, 10*time.Second, time.Millisecond)
	leave()
	close(store.open)
	<-store.arrived // the duplicate's own claim
	both.Wait()
}

func TestADuplicateOfARunningRequestIsTurnedAwayOrWaits(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprint("wait ", wait), func(t *testing.T) {
			t.Parallel()
			engine := engineOn(t, memory(t), idempotency.Config{Wait: wait})
			running, finish := make(chan struct{}), make(chan struct{})
			var both sync.WaitGroup
			both.Go(func() {
				_, err := engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
					close(running)
					<-finish
					return idempotency.Response{Status: 201, Body: []byte("first")}, nil
				})
				assert.NoError(t, err)
			})
			<-running
			if wait == 0 {
				_, err := engine.Run(t.Context(), request, never(t))
				require.ErrorIs(t, err, idempotency.ErrInProgress)
				close(finish)
			} else {
				both.Go(func() {
					result, err := engine.Run(t.Context(), request, never(t))
					assert.NoError(t, err)
					assert.True(t, result.Replayed)
				})
				require.Eventually(t, func() bool { return engine.Followers(request.Key) }, 10*time.Second, time.Millisecond)
				close(finish)
			}
			both.Wait()
		})
	}
}

func TestAWaitingDuplicateTakesOverWhenTheFirstFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() (idempotency.Response, error){
		"error":  func() (idempotency.Response, error) { return idempotency.Response{}, errors.New("no") },
		"503":    func() (idempotency.Response, error) { return idempotency.Response{Status: 503}, nil },
		"panic":  func() (idempotency.Response, error) { panic("no") },
		"goexit": func() (idempotency.Response, error) { runtime.Goexit(); return idempotency.Response{}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := engineOn(t, memory(t), idempotency.Config{Wait: time.Minute})
			running, finish := make(chan struct{}), make(chan struct{})
			var both sync.WaitGroup
			both.Go(func() {
				defer func() { _ = recover() }()
				_, _ = engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
					close(running)
					<-finish
					return fail()
				})
			})
			<-running
			both.Go(func() {
				result, err := engine.Run(t.Context(), request, answers("second"))
				assert.NoError(t, err)
				assert.False(t, result.Replayed)
			})
			require.Eventually(t, func() bool { return engine.Followers(request.Key) }, 10*time.Second, time.Millisecond)
			close(finish)
			both.Wait()
		})
	}
}

func TestAWaitingDuplicateGivesUp(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{Wait: 5 * time.Millisecond})
	_, err := engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
		_, err := engine.Run(t.Context(), request, never(t))
		require.ErrorIs(t, err, idempotency.ErrInProgress, "its patience has ended")
		return idempotency.Response{Status: 201}, nil
	})
	require.NoError(t, err)

	patient := engineOn(t, memory(t), idempotency.Config{Wait: time.Hour})
	_, err = patient.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := patient.Run(gone, request, never(t))
		require.ErrorIs(t, err, context.Canceled, "its client has gone")
		return idempotency.Response{Status: 201}, nil
	})
	require.NoError(t, err)
}

func TestAKeyInProgressInAnotherProcessIsAskedForAgain(t *testing.T) {
	t.Parallel()
	inner := memory(t)
	attempt, _, err := inner.Claim(t.Context(), request.Key)
	require.NoError(t, err)
	store := &gated{Store: inner}
	engine := engineOn(t, store, idempotency.Config{Wait: time.Minute})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		result, err := engine.Run(t.Context(), request, never(t))
		assert.NoError(t, err)
		assert.Equal(t, "other process", string(result.Response.Body))
	})
	require.Eventually(t, func() bool { return store.claims.Load() >= 2 }, 10*time.Second, time.Millisecond)
	_, err = attempt.Complete(t.Context(), &idempotency.Record{Response: idempotency.Response{Body: []byte("other process")}}, time.Hour)
	require.NoError(t, err)
	waiting.Wait()

	impatient := engineOn(t, store, idempotency.Config{})
	other := idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "other"}}
	_, _, err = inner.Claim(t.Context(), other.Key)
	require.NoError(t, err)
	before := store.claims.Load()
	_, err = impatient.Run(t.Context(), other, never(t))
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	require.Equal(t, before+1, store.claims.Load())
}

func TestTheHandlersContextOutlivesTheClientAndIsBounded(t *testing.T) {
	t.Parallel()
	type word struct{}
	engine := engineOn(t, memory(t), idempotency.Config{HandlerTimeout: time.Hour})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), word{}, "kept"))
	defer cancel()
	var kept context.Context
	_, err := engine.Run(ctx, request, func(ctx context.Context) (idempotency.Response, error) {
		cancel()
		require.NoError(t, ctx.Err())
		require.Equal(t, "kept", ctx.Value(word{}))
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.WithinDuration(t, time.Now().Add(time.Hour), deadline, time.Minute)
		kept = ctx
		return idempotency.Response{Status: 201}, nil
	})
	require.NoError(t, err)
	require.Error(t, kept.Err(), "the handler's context ends with it")
	_, err = engine.Run(context.WithoutCancel(kept), request, never(t))
	require.NoError(t, err, "what outlives a handler is not inside it")
}

func TestAPolicyCanBeReplacedAndIsChecked(t *testing.T) {
	t.Parallel()
	keeps := engineOn(t, memory(t), idempotency.Config{Policy: func(idempotency.Response, error) idempotency.Outcome { return idempotency.Complete }})
	for _, replayed := range []bool{false, true} {
		result, err := keeps.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 500}, nil
		})
		require.NoError(t, err)
		require.Equal(t, replayed, result.Replayed)
	}
	broken := engineOn(t, memory(t), idempotency.Config{Policy: func(idempotency.Response, error) idempotency.Outcome { return 0 }})
	failing := func(context.Context) (idempotency.Response, error) { return idempotency.Response{}, errors.New("no") }
	other := idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "fails"}}
	for range 2 {
		_, err := broken.Run(t.Context(), request, answers("x"))
		require.ErrorContains(t, err, "Refuse or Release")
		_, err = keeps.Run(t.Context(), other, failing)
		require.ErrorContains(t, err, "not for an error")
	}
}

func TestAResponseOverTheLimitIsRolledBack(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{MaxResponseBytes: 10})
	_, err := engine.Run(t.Context(), request, answers("0123456789A"))
	require.ErrorIs(t, err, idempotency.ErrResponseTooLarge)
	result, err := engine.Run(t.Context(), request, answers("0123456789"))
	require.NoError(t, err)
	require.False(t, result.Replayed)
}

func TestEveryOutcomeIsAnEventWithoutTheKey(t *testing.T) {
	t.Parallel()
	var kinds []idempotency.EventKind
	engine := engineOn(t, memory(t), idempotency.Config{Observer: func(_ context.Context, e idempotency.Event) {
		kinds = append(kinds, e.Kind)
		require.NotContains(t, fmt.Sprintf("%+v", e), request.Key.Value)
	}})
	run := func(handler idempotency.Handler) { _, _ = engine.Run(t.Context(), request, handler) }
	run(func(context.Context) (idempotency.Response, error) { return idempotency.Response{}, errors.New("no") })
	run(func(ctx context.Context) (idempotency.Response, error) {
		_, err := engine.Run(t.Context(), request, never(t))
		require.ErrorIs(t, err, idempotency.ErrInProgress)
		return idempotency.Response{Status: 201}, nil
	})
	run(never(t))
	other := request
	other.Fingerprint[0] = 1
	_, err := engine.Run(t.Context(), other, never(t))
	require.ErrorIs(t, err, idempotency.ErrKeyReused)
	require.Equal(t, []idempotency.EventKind{
		idempotency.Claimed, idempotency.Released,
		idempotency.Claimed, idempotency.Conflicted, idempotency.Completed,
		idempotency.Replayed, idempotency.Reused,
	}, kinds)
}

func TestARequestWithoutAKeyRunsAndIsNotStored(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{})
	for range 2 {
		result, err := engine.RunWithoutKey(t.Context(), answers("x"))
		require.NoError(t, err)
		require.False(t, result.Replayed)
	}
	_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice"}}, never(t))
	require.ErrorIs(t, err, idempotency.ErrKeyMissing)
	_, err = engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Value: "k"}}, never(t))
	require.ErrorIs(t, err, idempotency.ErrScopeMissing)
}

func TestAClientThatLeavesStopsAskingForAKeyInProgressElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &gated{Store: memory(t), err: idempotency.ErrInProgress}
		engine := engineOn(t, store, idempotency.Config{Wait: 24 * time.Hour})
		leaves, leave := context.WithTimeout(t.Context(), time.Minute)
		defer leave()
		started := time.Now()
		_, err := engine.Run(leaves, request, never(t))
		require.ErrorIs(t, err, idempotency.ErrInProgress)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(started))
		require.Greater(t, store.claims.Load(), int32(100), "it asked again and again")
	})
}
