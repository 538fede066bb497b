package idempotency_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// backlog is a store with records that are over, whose deletion takes its time.
type backlog struct {
	*memstore.Store
	left, calls atomic.Int64
	takes       time.Duration
}

func (b *backlog) Reap(_ context.Context, limit int) (idempotency.Reaped, error) {
	<-time.After(b.takes)
	b.calls.Add(1)
	deleted := min(b.left.Load(), int64(limit))
	b.left.Add(-deleted)
	return idempotency.Reaped{Deleted: int(deleted)}, nil
}

func reaper(t *testing.T, left int64, config idempotency.Config) (*backlog, *idempotency.Engine, chan idempotency.Event) {
	events := make(chan idempotency.Event, 100)
	config.Observer = func(_ context.Context, e idempotency.Event) { events <- e }
	b := &backlog{Store: memory(t), takes: 10 * time.Millisecond}
	b.left.Store(left)
	return b, engineOn(t, b, config), events
}

func maintain(t *testing.T, engine *idempotency.Engine) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- engine.Maintain(ctx) }()
	t.Cleanup(func() {
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestMaintainRestsNineTimesAsLongAsAFullBatchTook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, engine, events := reaper(t, 1050, idempotency.Config{ReapBatch: 100})
		began := time.Now()
		maintain(t, engine)
		require.Equal(t, 1050, (<-events).Count)
		require.Equal(t, 10*100*time.Millisecond+10*time.Millisecond, time.Since(began))
	})
}

func TestReapDoesNotRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, engine, _ := reaper(t, 1050, idempotency.Config{ReapBatch: 100})
		began := time.Now()
		n, err := engine.Reap(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1050, n)
		require.Equal(t, 11*10*time.Millisecond, time.Since(began))
	})
}

func TestMaintainTellsAfterAnIntervalWhatItHasDoneAndGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, engine, events := reaper(t, 1<<40, idempotency.Config{ReapBatch: 100, ReapInterval: time.Minute})
		began := time.Now()
		maintain(t, engine)
		for n := range 3 {
			require.InDelta(t, 60_000, (<-events).Count, 200)
			require.InDelta(t, time.Duration(n+1)*time.Minute, time.Since(began), float64(200*time.Millisecond))
		}
	})
}

func TestMaintainThatRestsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, engine, _ := reaper(t, 1<<40, idempotency.Config{ReapBatch: 100})
		b.takes = time.Hour
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- engine.Maintain(ctx) }()
		<-time.After(time.Hour + time.Minute)
		began := time.Now()
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Zero(t, time.Since(began))
		require.EqualValues(t, 1, b.calls.Load())
	})
}
