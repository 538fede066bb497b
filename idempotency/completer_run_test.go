package idempotency_test

import (
	"context"
	"fmt"
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

func TestCompletersOfTwoProcessesDoNothingTwice(t *testing.T) {
	t.Parallel()
	const keys = 40
	w := newWorld(t)
	w.leaves(w.engine(idempotency.Config{}), keys)
	var mu sync.Mutex
	ran := map[string]int{}
	var both sync.WaitGroup
	for range 2 {
		engine := w.engine(idempotency.Config{})
		completer := w.completer(engine, idempotency.CompleterConfig{DesiredConcurrency: 8}, func(ctx context.Context, pending idempotency.Pending) error {
			return resumes(engine, func(ctx context.Context) (idempotency.Response, error) {
				if err := w.do(ctx, "atomic one"); err != nil {
					return idempotency.Response{}, err
				}
				_, err := idempotency.Atomic(ctx, "two", func(context.Context) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					ran[pending.Key.Value]++
					return 0, nil
				})
				return idempotency.Response{Status: 201}, err
			})(ctx, pending)
		})
		both.Go(func() {
			_, err := completer.Pass(t.Context())
			assert.NoError(t, err)
		})
	}
	both.Wait()
	w.wantNothingPending()
	require.Len(t, ran, keys)
	for key, times := range ran {
		require.Equal(t, 1, times, key)
	}
}

func TestACompleterResumesAsManyKeysAtATimeAsDesiredAndForItsBudget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config idempotency.CompleterConfig
		want   idempotency.Pass
		most   int32
		took   time.Duration
	}{
		{idempotency.CompleterConfig{}, idempotency.Pass{Found: 7, Completed: 7}, 4, 2 * time.Second},
		{idempotency.CompleterConfig{DesiredConcurrency: 2}, idempotency.Pass{Found: 7, Completed: 7}, 2, 4 * time.Second},
		{idempotency.CompleterConfig{DesiredConcurrency: 50}, idempotency.Pass{Found: 7, Completed: 7}, 7, time.Second},
		{idempotency.CompleterConfig{Batch: 3}, idempotency.Pass{Found: 3, Completed: 3}, 3, time.Second},
		{idempotency.CompleterConfig{DesiredConcurrency: 1, Budget: 2500 * time.Millisecond}, idempotency.Pass{Found: 7, Completed: 3, Pending: 4}, 1, 3 * time.Second},
	} {
		t.Run(fmt.Sprintf("%+v", c.config), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				engine := w.engine(idempotency.Config{})
				w.leaves(engine, 7)
				var working, most atomic.Int32
				completer := w.completer(engine, c.config, resumes(engine, func(ctx context.Context) (idempotency.Response, error) {
					now := working.Add(1)
					defer working.Add(-1)
					for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
					}
					<-time.After(time.Second)
					return w.program(nil, "atomic one")(ctx)
				}))
				started := time.Now()
				w.wantPass(completer, c.want)
				require.Equal(t, c.took, time.Since(started))
				require.Equal(t, c.most, most.Load())
			})
		})
	}
}

func TestACompleterThatIsStoppedEndsWhatItHasBegun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 3)
	ctx, stop := context.WithCancel(t.Context())
	begun, finish, ended := make(chan struct{}, 3), make(chan struct{}), make(chan error)
	config := idempotency.CompleterConfig{DesiredConcurrency: 1, Interval: time.Hour}
	completer := w.completer(engine, config, func(ctx context.Context, pending idempotency.Pending) error {
		begun <- struct{}{}
		<-finish
		assert.NoError(t, ctx.Err(), "the request was told to stop before it was made")
		return resumes(engine, w.program(nil, "atomic one"))(ctx, pending)
	})
	go func() { ended <- completer.Run(ctx) }()
	<-begun
	stop()
	close(finish)
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Empty(t, begun, "another one was begun")
	found, err := w.store.Pending(t.Context(), idempotency.Due{Limit: 10, MaxCompletions: 1})
	require.NoError(t, err)
	require.Len(t, found.Keys, 2)
}

func TestACompleterGoesOnPassAfterPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		engine := w.engine(idempotency.Config{})
		ctx, stop := context.WithCancel(t.Context())
		resumed := make(chan idempotency.Key)
		completer := w.completer(engine, idempotency.CompleterConfig{Interval: time.Minute}, func(ctx context.Context, pending idempotency.Pending) error {
			resumed <- pending.Key
			return resumes(engine, w.program(nil, "atomic one"))(ctx, pending)
		})
		ended := make(chan error)
		go func() { ended <- completer.Run(ctx) }()
		synctest.Wait()
		w.leaves(engine, 1)
		started := time.Now()
		require.Equal(t, request.Key, <-resumed)
		require.Equal(t, time.Minute, time.Since(started))
		synctest.Wait()
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		w.wantNothingPending()
	})
}

// unlisted is a store that cannot be asked for its pending keys now.
type unlisted struct{ idempotency.Recoverer }

func (unlisted) Pending(context.Context, idempotency.Due) (idempotency.PendingKeys, error) {
	return idempotency.PendingKeys{}, errDown
}

func TestAPassThatCannotListItsKeysReportsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := engineOn(t, unlisted{w.store}, idempotency.Config{Observer: func(_ context.Context, e idempotency.Event) { w.did(string(e.Kind)) }})
	completer := w.completer(engine, idempotency.CompleterConfig{}, resumes(engine, never(t)))
	_, err := completer.Pass(t.Context())
	require.ErrorIs(t, err, errDown)
	require.ErrorIs(t, err, idempotency.ErrInternal)
	w.wantDone("failed")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, err = completer.Pass(stopped)
	require.ErrorIs(t, err, errDown)
	w.wantDone()
}

// outdated lists what another completer has listed before.
type outdated struct {
	*memstore.Store
	listed idempotency.PendingKeys
}

func (o outdated) Pending(context.Context, idempotency.Due) (idempotency.PendingKeys, error) {
	return o.listed, nil
}

func TestACompleterLeavesAKeyAloneThatAnotherOneHasTriedSinceItWasListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	listed, err := w.store.Pending(t.Context(), idempotency.Due{Limit: 1, MaxCompletions: 1})
	require.NoError(t, err)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, resumes(engine, w.program(errDown, "atomic one", "atomic two"))),
		idempotency.Pass{Found: 1, Pending: 1})
	w.wantDone("two")

	late := engineOn(t, outdated{w.store, listed}, idempotency.Config{})
	w.wantPass(w.completer(late, idempotency.CompleterConfig{}, resumes(late, never(t))), idempotency.Pass{Found: 1, Pending: 1})
	require.Equal(t, 1, w.pending().Completions, "and does not count it")
}

func TestAHandlerThatHangsKeepsItsSlotAndNotTheOtherKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		engine := w.engine(idempotency.Config{HandlerTimeout: time.Second, Lease: time.Second})
		w.leaves(engine, 1)
		var hung atomic.Int32
		released := make(chan struct{})
		first := w.pending().Key
		completer := w.completer(engine, idempotency.CompleterConfig{DesiredConcurrency: 2}, func(ctx context.Context, pending idempotency.Pending) error {
			if pending.Key == first {
				hung.Add(1)
				<-released // whatever ctx says
			}
			return resumes(engine, w.program(nil, "atomic one"))(ctx, pending)
		})
		w.wantPass(completer, idempotency.Pass{Found: 1, Pending: 1})
		w.leaves(engine, 3) // the first of them is there already, and the others are new
		w.wantPass(completer, idempotency.Pass{Found: 3, Completed: 2, Pending: 1})
		require.Equal(t, int32(1), hung.Load(), "a key that is being worked on here is not begun again")
		close(released)
		synctest.Wait()
		w.wantNothingPending()
	})
}
