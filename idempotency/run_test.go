package idempotency_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// inHandler runs inside in a handler, and returns the handler's context.
func inHandler(t *testing.T, ctx context.Context, config idempotency.Config, inside func(ctx context.Context)) context.Context {
	var kept context.Context
	_, err := engineOn(t, memory(t), config).Run(ctx, request, func(ctx context.Context) (idempotency.Response, error) {
		kept = ctx
		inside(ctx)
		return idempotency.Response{Status: 200}, nil
	})
	require.NoError(t, err)
	return kept
}

func TestAHandlersContextHasTheValuesOfTheRequestsAndNotItsEnd(t *testing.T) {
	t.Parallel()
	type word struct{}
	ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), word{}, "kept"))
	kept := inHandler(t, ctx, idempotency.Config{}, func(ctx context.Context) {
		cancel(errors.New("the client is gone"))
		require.NoError(t, ctx.Err())
		require.NoError(t, context.Cause(ctx))
		select {
		case <-ctx.Done():
			t.Error("the handler's context ended with the client")
		default:
		}
		require.Equal(t, "kept", ctx.Value(word{}))
		require.Nil(t, ctx.Value("other"))
	})
	require.ErrorIs(t, kept.Err(), context.Canceled, "what the handler left behind is not told that it is over")
	require.Equal(t, "kept", kept.Value(word{}))
}

func TestAHandlersContextEndsAtItsBoundAndNotAtTheClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		inHandler(t, ctx, idempotency.Config{HandlerTimeout: time.Minute}, func(ctx context.Context) {
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, start.Add(time.Minute), deadline)
			child, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			deadline, _ = child.Deadline()
			require.Equal(t, start.Add(time.Minute), deadline, "a child may not outlast its parent")
			<-child.Done()
			require.Equal(t, time.Minute, time.Since(start))
			require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
			require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
			require.ErrorIs(t, context.Cause(child), context.DeadlineExceeded)
		})
	})
}

func TestChildrenOfAHandlersContextEndWithItAndForTheirOwnReasons(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	var child, own context.Context
	kept := inHandler(t, t.Context(), idempotency.Config{}, func(ctx context.Context) {
		var release context.CancelFunc
		child, release = context.WithCancel(ctx)
		t.Cleanup(release) // too late to be what ends it
		var cancel context.CancelCauseFunc
		own, cancel = context.WithCancelCause(ctx)
		cancel(mine)
		require.Same(t, mine, context.Cause(own))
		require.NoError(t, ctx.Err())
		require.NoError(t, child.Err())
	})
	<-child.Done()
	require.ErrorIs(t, context.Cause(child), context.Canceled)
	require.Same(t, mine, context.Cause(own))
	late, cancel := context.WithCancel(kept)
	defer cancel()
	require.ErrorIs(t, late.Err(), context.Canceled, "begun after the handler ended")
}

// Not parallel: it counts goroutines. Package context watches a parent that it does not know by a goroutine for each child.
func TestChildrenOfAHandlersContextCostNoGoroutine(t *testing.T) {
	before := 0
	ended := make(chan struct{}, 1)
	inHandler(t, t.Context(), idempotency.Config{}, func(ctx context.Context) {
		before = runtime.NumGoroutine()
		for range 100 {
			_, cancel := context.WithCancel(ctx)
			defer cancel()
		}
		require.Equal(t, before, runtime.NumGoroutine())
		context.AfterFunc(ctx, func() { ended <- struct{}{} })
		require.Equal(t, before, runtime.NumGoroutine())
	})
	<-ended
}

func TestAHandlersContextMayBeUsedByManyGoroutines(t *testing.T) {
	t.Parallel()
	inHandler(t, t.Context(), idempotency.Config{}, func(ctx context.Context) {
		ended := make(chan error)
		for range 8 {
			go func() {
				child, cancel := context.WithCancel(ctx)
				cancel()
				<-child.Done()
				ended <- ctx.Err()
			}()
		}
		for range 8 {
			require.NoError(t, <-ended)
		}
	})
}

func TestOnlyWhatRunsInsideAHandlerIsNested(t *testing.T) {
	t.Parallel()
	other := idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "other"}}
	engine := engineOn(t, memory(t), idempotency.Config{})
	kept := inHandler(t, t.Context(), idempotency.Config{}, func(ctx context.Context) {
		for _, inner := range []context.Context{ctx, context.WithoutCancel(ctx), context.WithValue(ctx, other.Key, 1)} {
			_, err := engine.Run(inner, other, never(t))
			require.ErrorIs(t, err, idempotency.ErrNested)
			_, err = engine.RunWithoutKey(inner, never(t))
			require.ErrorIs(t, err, idempotency.ErrNested)
		}
	})
	_, err := engine.Run(context.WithoutCancel(kept), other, answers("after"))
	require.NoError(t, err, "what a handler left behind is not inside of it any more")
}
