package growth

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Beside is the reaper at work beside payments at full load.
type Beside struct {
	Backlog, Connections int
	// Inserted and Reaped are records each second, while both went on.
	Inserted, Reaped float64
	// P99 is that of payments beside the reaper, P99Relative is how many times that of the rounds without it, and SpeedRelative the
	// same of payments each second.
	P99                        time.Duration
	P99Relative, SpeedRelative float64
	// Left is what was still over at the end: the reaper was never without work.
	Left int64
}

// measureBeside makes payments at full load, round by round with and without Maintain, which has more to delete than it can.
func measureBeside(ctx context.Context, c Config) (Beside, error) {
	b := Beside{Backlog: c.Backlog, Connections: c.Connections}
	w, err := newWorld(ctx, c, "beside")
	if err != nil {
		return b, err
	}
	defer w.drop()
	c.Progress(fmt.Sprintf("the reaper beside payments: writing %s records that are over", spell(c.Backlog)))
	if err := w.fillOver(ctx, c.Backlog); err != nil {
		return b, err
	}
	var speed, reaped, p99, tails, speeds []float64
	for n := range 2*c.Rounds + 1 { // the first warms up
		c.Progress(fmt.Sprintf("the reaper beside payments: round %d of %d", n+1, 2*c.Rounds+1))
		var got [2]pace
		for turn := range got {
			with := (turn + n) % 2
			deleted, stop := w.maintain(ctx, with == 1)
			before := deleted.Load()
			began := time.Now()
			got[with], err = w.round(ctx, c.Connections, c.Length, payments(w))
			rate := float64(deleted.Load()-before) / time.Since(began).Seconds()
			if err := errors.Join(err, stop()); err != nil {
				return b, err
			}
			if with == 1 && n > 0 {
				reaped = append(reaped, rate)
			}
		}
		if n > 0 {
			speed, p99 = append(speed, got[1].perSecond), append(p99, float64(got[1].p99))
			tails, speeds = append(tails, float64(got[1].p99)/float64(got[0].p99)), append(speeds, got[1].perSecond/got[0].perSecond)
		}
	}
	b.Inserted, b.Reaped, b.P99 = median(speed), median(reaped), time.Duration(median(p99))
	b.P99Relative, b.SpeedRelative = median(tails), median(speeds)
	b.Left, err = w.number(ctx, `SELECT count(*) FROM idempotency_keys WHERE state = 'completed' AND expires_at <= now()`)
	return b, err
}

// fillOver writes n records that are over.
func (w *world) fillOver(ctx context.Context, n int) error {
	w.size, w.over, w.filled = n, n, time.Now()
	restore, err := w.dropIndexes(ctx)
	if err != nil {
		return err
	}
	if err := w.copyRows(ctx, 0, n, w.expiry); err != nil {
		return err
	}
	return w.do(ctx, append(restore, `VACUUM ANALYZE idempotency_keys`)...)
}

// counting counts what a store reaps.
type counting struct {
	idempotency.Store
	deleted *atomic.Int64
}

func (c counting) Reap(ctx context.Context, limit int) (idempotency.Reaped, error) {
	reaped, err := c.Store.Reap(ctx, limit)
	c.deleted.Add(int64(reaped.Deleted))
	return reaped, err
}

// maintain starts Maintain, if it is wanted, as a service does. stop ends it.
func (w *world) maintain(ctx context.Context, wanted bool) (deleted *atomic.Int64, stop func() error) {
	deleted = &atomic.Int64{}
	if !wanted {
		return deleted, func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	engine, err := idempotency.New(counting{w.store, deleted}, idempotency.Config{Observer: func(_ context.Context, e idempotency.Event) {
		if e.Kind == idempotency.Failed && ctx.Err() == nil {
			select {
			case failed <- e.Err:
			default:
			}
		}
	}})
	if err != nil {
		cancel()
		return deleted, func() error { return err }
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = engine.Maintain(ctx) // its context's end
	}()
	return deleted, func() error {
		cancel()
		<-ended
		select {
		case err := <-failed:
			return fmt.Errorf("the reaper failed: %w", err)
		default:
			return nil
		}
	}
}
