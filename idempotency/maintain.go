package idempotency

import (
	"context"
	"time"
)

// Reap deletes the records whose retention is over, in batches of Config.ReapBatch, until none is left, ctx ends, or another
// process turns out to be reaping. It returns how many it deleted, also with an error. Calling it again is harmless.
func (e *Engine) Reap(ctx context.Context) (int, error) {
	total, started := 0, time.Now()
	for ctx.Err() == nil {
		reaped, err := e.store.Reap(ctx, e.config.ReapBatch)
		total += reaped.Deleted
		if err != nil {
			err = AsError(err)
			e.config.Observer(ctx, Event{Kind: Failed, Count: total, Duration: time.Since(started), Err: err})
			return total, err
		}
		if reaped.Busy || reaped.Deleted < e.config.ReapBatch {
			break
		}
	}
	if total > 0 {
		e.config.Observer(ctx, Event{Kind: Reaping, Count: total, Duration: time.Since(started)})
	}
	return total, nil
}

// Maintain calls [Engine.Reap] now and then every Config.ReapInterval until ctx ends, and returns ctx's error. Run it in a
// goroutine of every process: one at a time does the work, and what it did, or why it could not, goes to the Observer.
func (e *Engine) Maintain(ctx context.Context) error {
	return every(ctx, e.config.ReapInterval, func() { _, _ = e.Reap(ctx) }) // what fails goes to the observer, and the next pass tries again
}

// every calls pass now and then in this interval until ctx ends, and returns ctx's error.
func every(ctx context.Context, interval time.Duration, pass func()) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		pass()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
