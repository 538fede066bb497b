package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestALimitBelowZeroIsRefused(t *testing.T) {
	t.Parallel()
	_, err := idempotency.New(memory(t), idempotency.Config{MaxResponseHeaderBytes: -1, MaxWaiters: -2, MaxPendingPerScope: -3})
	require.ErrorContains(t, err, "Config.MaxResponseHeaderBytes is -1")
	require.ErrorContains(t, err, "Config.MaxWaiters is -2")
	require.ErrorContains(t, err, "Config.MaxPendingPerScope is -3")
}

func TestResponseHeadersOverTheLimitAreRolledBack(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{MaxResponseHeaderBytes: 4, MaxResponseBytes: 4})
	response := idempotency.Response{Header: []byte("12345"), Body: []byte("1234")}
	handler := func(context.Context) (idempotency.Response, error) { return response, nil }
	_, err := engine.Run(t.Context(), request, handler)
	require.ErrorIs(t, err, idempotency.ErrResponseTooLarge)
	response.Header = response.Header[:4]
	result, err := engine.Run(t.Context(), request, handler)
	require.NoError(t, err)
	require.False(t, result.Replayed)
}

// Duplicates of a completed key wait, too, until the claim of the one that leads them is answered.
func TestAHerdOfTenThousandIsAnsweredByDefault(t *testing.T) {
	t.Parallel()
	store := &gated{Store: memory(t), arrived: make(chan struct{}), open: make(chan struct{})}
	engine := engineOn(t, store.Store, idempotency.Config{})
	_, err := engine.Run(t.Context(), request, answers("paid"))
	require.NoError(t, err)

	engine = engineOn(t, store, idempotency.Config{}) // another process, which does not know the key
	engine.OccupyWaiters(9_998)
	got := make(chan idempotency.Result, 2)
	for range cap(got) {
		go func() {
			result, err := engine.Run(t.Context(), request, never(t))
			if err != nil {
				t.Error(err)
			}
			got <- result
		}()
	}
	<-store.arrived
	require.Eventually(t, func() bool { return engine.Waiters() == 9_999 }, 10*time.Second, time.Millisecond)
	close(store.open)
	for range cap(got) {
		require.True(t, (<-got).Replayed)
	}
	require.Equal(t, 9_998, engine.Waiters())
}

func TestAPlaceAmongThoseThatWaitIsGivenBack(t *testing.T) {
	t.Parallel()
	store := memory(t)
	var last idempotency.Event
	engine := engineOn(t, store, idempotency.Config{Wait: time.Hour, MaxWaiters: 1, Observer: func(_ context.Context, e idempotency.Event) { last = e }})
	elsewhere, _, err := store.Claim(t.Context(), request.Key)
	require.NoError(t, err)
	for _, leave := range []error{context.Canceled, errors.New("a reason")} { // of a client that goes away while it waits
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := make(chan error)
		go func() {
			_, err := engine.Run(ctx, request, never(t))
			gone <- err
		}()
		require.Eventually(t, func() bool { return engine.Waiters() == 1 }, 10*time.Second, time.Millisecond)
		cancel(leave)
		require.ErrorIs(t, <-gone, leave)
		require.Zero(t, engine.Waiters())
	}
	engine.OccupyWaiters(1)
	_, err = engine.Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	require.ErrorContains(t, err, "MaxWaiters")
	require.Equal(t, idempotency.Conflicted, last.Kind)
	require.NoError(t, elsewhere.Release(t.Context()))
	result, err := engine.Run(t.Context(), request, answers("paid")) // which need not wait
	require.NoError(t, err)
	require.False(t, result.Replayed)
	require.Equal(t, 1, engine.Waiters())
}

// capped runs a handler of alice's until the test ends it by the function that is returned.
func (w *world) capped(engine *idempotency.Engine) (end func()) {
	w.Helper()
	inside, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_, err := engine.Run(w.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "slow"}}, func(context.Context) (idempotency.Response, error) {
			close(inside)
			<-release
			return idempotency.Response{}, nil
		})
		if err != nil {
			w.Error(err)
		}
	}()
	<-inside
	return func() { close(release); <-ended }
}

func TestAnOperationOverTheLimitOfItsScopeIsTurnedAwayAndCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{MaxPendingPerScope: 1})
	end := w.capped(engine)
	w.wantEvents(idempotency.Claimed)
	_, err := engine.Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrTooManyPending)
	event := w.wantEvents(idempotency.Limited)
	require.Equal(t, "alice", event.Scope)
	require.Equal(t, 429, event.Status)
	require.ErrorContains(t, event.Err, "MaxPendingPerScope")
	end()
	_, err = engine.Run(t.Context(), request, answers("paid"))
	require.NoError(t, err)
	require.Zero(t, engine.Scopes())
}

func TestTheDuplicatesOfAnOperationOverTheLimitDoNotAskAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store := &gated{Store: w.store}
	engine := engineOn(t, store, idempotency.Config{MaxPendingPerScope: 1})
	end := w.capped(engine)
	store.arrived, store.open = make(chan struct{}), make(chan struct{})
	store.claims.Store(0)
	const duplicates = 5
	told := make(chan error, duplicates)
	for range duplicates {
		go func() {
			_, err := engine.Run(t.Context(), request, never(t))
			told <- err
		}()
	}
	<-store.arrived
	require.Eventually(t, func() bool { return engine.Waiters() == duplicates-1 }, 10*time.Second, time.Millisecond)
	close(store.open)
	go func() { // for those that ask all the same
		for {
			select {
			case <-store.arrived:
			case <-t.Context().Done():
				return
			}
		}
	}()
	for range duplicates {
		require.ErrorIs(t, <-told, idempotency.ErrTooManyPending)
	}
	require.EqualValues(t, 1, store.claims.Load())
	end()
}

// Such as that of another engine, which the handler asked.
func TestAHandlersOwnErrorOfThatKindIsNotToldToItsDuplicates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	elsewhere := w.engine(idempotency.Config{MaxPendingPerScope: 1})
	end := w.capped(elsewhere)
	_, full := elsewhere.Run(t.Context(), request, never(t))
	require.ErrorIs(t, full, idempotency.ErrTooManyPending)
	end()
	for name, own := range map[string]error{"as it is": full, "wrapped": fmt.Errorf("billing: %w", full)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := engineOn(t, memory(t), idempotency.Config{Wait: time.Minute, MaxPendingPerScope: 1})
			inside, finish, first, second := make(chan struct{}), make(chan struct{}), make(chan error, 1), make(chan error, 1)
			go func() {
				_, err := engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
					close(inside)
					<-finish
					return idempotency.Response{}, own
				})
				first <- err
			}()
			<-inside
			go func() {
				_, err := engine.Run(t.Context(), request, answers("paid"))
				second <- err
			}()
			require.Eventually(t, func() bool { return engine.Waiters() == 1 }, 10*time.Second, time.Millisecond)
			close(finish)
			require.Equal(t, own, <-first)
			require.NoError(t, <-second, "it runs")
		})
	}
}

func TestTheDuplicatesOfAKeyThatGetsNoRecoveryPointDoNotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{MaxPendingPerScope: 1, Wait: time.Minute})
	_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "other"}}, w.program(errDown, "atomic one"))
	require.ErrorIs(t, err, errDown)
	inside, finish, told := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	run := func(handler idempotency.Handler) {
		_, err := engine.Run(t.Context(), request, handler)
		told <- err
	}
	go run(func(ctx context.Context) (idempotency.Response, error) {
		close(inside)
		<-finish
		return idempotency.Response{Status: 201}, w.do(ctx, "atomic one")
	})
	<-inside
	go run(never(t))
	require.Eventually(t, func() bool { return engine.Waiters() == 1 }, 10*time.Second, time.Millisecond)
	close(finish)
	for range 2 {
		require.ErrorIs(t, <-told, idempotency.ErrTooManyPending)
	}
}

func TestEachEngineOfAProcessCountsItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.engine(idempotency.Config{MaxPendingPerScope: 1}), w.engine(idempotency.Config{MaxPendingPerScope: 1})
	defer w.capped(one)()
	_, err := one.Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrTooManyPending)
	_, err = two.Run(t.Context(), request, answers("paid"))
	require.NoError(t, err)
}

func TestAHandlerThatPanicsOrEndsItsGoroutineIsNotCountedForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{MaxPendingPerScope: 1})
	require.Panics(t, func() {
		_, _ = engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) { panic("broken") })
	})
	require.Zero(t, engine.Scopes())
	w.completes(engine, answers("paid"))
}

func TestAKeyOverTheLimitGetsNoRecoveryPoint(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"atomic one", "foreign one"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{MaxPendingPerScope: 1})
			other := idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "other"}}
			_, err := engine.Run(t.Context(), other, w.program(errDown, "atomic begun"))
			require.ErrorIs(t, err, errDown)
			w.wantDone("begun")
			w.wantEvents(idempotency.Claimed, idempotency.Released)

			_, err = engine.Run(t.Context(), request, w.program(nil, step))
			require.ErrorIs(t, err, idempotency.ErrTooManyPending)
			w.wantDone()
			require.Equal(t, 429, w.wantEvents(idempotency.Claimed, idempotency.Limited).Status)
			require.Equal(t, other.Key, w.pending().Key)

			// What was begun goes on, also to steps that are new, and its end makes room.
			_, err = engine.Run(t.Context(), other, w.program(nil, "atomic begun", step))
			require.NoError(t, err)
			w.wantDone("one")
			w.completes(engine, w.program(nil, step))
		})
	}
}

// countless is a store that keeps recovery points and cannot count them.
type countless struct{ idempotency.Store }

func (s countless) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	if chain, ok := attempt.(idempotency.Chain); ok {
		attempt = struct{ idempotency.Chain }{chain}
	}
	return attempt, record, err
}

// uncounted is a store that cannot be asked how many keys are pending.
type uncounted struct{ idempotency.PendingCounter }

func (uncounted) CountPending(context.Context, int) (int, error) {
	return 0, idempotency.ErrStoreUnavailable
}

func (s uncountable) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	if counter, ok := attempt.(idempotency.PendingCounter); ok {
		attempt = uncounted{counter}
	}
	return attempt, record, err
}

type uncountable struct{ idempotency.Store }

func TestWhereTheStoreCannotCountOnlyWhatRunsIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := engineOn(t, countless{w.store}, idempotency.Config{MaxPendingPerScope: 1})
	for _, value := range []string{"one", "two"} {
		_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: value}}, w.program(errDown, "atomic one"))
		require.ErrorIs(t, err, errDown)
	}
	defer w.capped(engine)()
	_, err := engine.Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrTooManyPending)
}

func TestWhereTheCountCannotBeHadNothingIsDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := engineOn(t, uncountable{w.store}, idempotency.Config{MaxPendingPerScope: 1})
	_, err := engine.Run(t.Context(), request, w.program(nil, "foreign one"))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	w.wantDone()
	w.wantNothingPending()
}
