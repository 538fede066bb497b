package idempotency_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

type receipt struct{ Number int }

func TestDoRunsOnceAndReturnsTheSameResult(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{})
	runs := 0
	for range 3 {
		got, err := idempotency.Do(t.Context(), engine, request, func(context.Context) (receipt, error) {
			runs++
			return receipt{Number: runs}, nil
		})
		require.NoError(t, err)
		require.Equal(t, receipt{Number: 1}, got)
	}
	require.Equal(t, 1, runs)
}

func TestDoKeepsARefusalAndForgetsAnError(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{})
	mine := errors.New("mine")
	outcomes := []error{mine, &idempotency.Refusal{Reason: "no such account"}, nil}
	runs := 0
	work := func(context.Context) (receipt, error) { runs++; return receipt{}, outcomes[runs-1] }

	_, err := idempotency.Do(t.Context(), engine, request, work)
	require.Same(t, mine, err)
	for range 3 {
		_, err = idempotency.Do(t.Context(), engine, request, work)
		var refusal *idempotency.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, "no such account", refusal.Reason)
	}
	require.Equal(t, 2, runs)
}

func TestARefusalOverTheLimitIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{MaxResponseBytes: 20})
	var reason string
	refuse := func() error {
		_, err := idempotency.Do(t.Context(), engine, request, func(context.Context) (receipt, error) {
			return receipt{}, &idempotency.Refusal{Reason: reason}
		})
		return err
	}
	reason = "12345678" // {"reason":"12345678"} and one more
	require.ErrorIs(t, refuse(), idempotency.ErrResponseTooLarge)
	w.wantEvents(idempotency.Claimed, idempotency.Released)
	reason = "1234567"
	var refusal *idempotency.Refusal
	require.ErrorAs(t, refuse(), &refusal)
	w.wantEvents(idempotency.Claimed, idempotency.Refused)
}

func TestDoNamesAResultThatCannotBeKeptOrRead(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{})
	_, err := idempotency.Do(t.Context(), engine, request, func(context.Context) (func(), error) { return func() {}, nil })
	require.ErrorContains(t, err, "cannot be kept as JSON")
	_, err = idempotency.Do(t.Context(), engine, request, func(context.Context) (string, error) { return "text", nil })
	require.NoError(t, err)
	_, err = idempotency.Do(t.Context(), engine, request, func(context.Context) (receipt, error) { t.Error("ran"); return receipt{}, nil })
	require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
}

func TestMaintainReapsUntilItsContextEndsAndReports(t *testing.T) {
	t.Parallel()
	now := time.Now()
	store, err := memstore.New(memstore.Config{Now: func() time.Time { return now }})
	require.NoError(t, err)
	reaped := make(chan int, 1)
	engine := engineOn(t, store, idempotency.Config{ReapBatch: 2, ReapInterval: time.Hour, Observer: func(_ context.Context, e idempotency.Event) {
		if e.Kind == idempotency.Reaping {
			reaped <- e.Count
		}
	}})
	for _, value := range []string{"a", "b", "c", "d", "e"} {
		_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: value}}, answers(value))
		require.NoError(t, err)
	}
	now = now.Add(25 * time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- engine.Maintain(ctx) }()
	require.Equal(t, 5, <-reaped)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	n, err := engine.Reap(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestDoTakesNoOtherResponseForItsOwn(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{})
	_, err := engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 201, Body: []byte(`{}`)}, nil // which is not "no"
	})
	require.NoError(t, err)
	_, err = idempotency.Do(t.Context(), engine, request, func(context.Context) (int, error) { return 1, nil })
	require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
}
