package idempotency

import (
	"context"
	"time"
)

// restAfterBatch is how many times as long as it worked [Engine.Maintain] rests after a batch that was full: requests get
// most of what the store can do, also where millions of records are over.
const restAfterBatch = 9

// Reap deletes the records whose retention is over, in batches of Config.ReapBatch, until none is left, ctx ends, or another
// process turns out to be reaping. It returns how many it deleted, also with an error. Calling it again is harmless. It does not
// rest between batches, as [Engine.Maintain] does.
func (e *Engine) Reap(ctx context.Context) (int, error) {
	return e.reap(ctx, func(time.Duration) bool { return ctx.Err() == nil })
}

// reap deletes batch after batch, and after each full one asks whether to go on, with how long that batch took.
func (e *Engine) reap(ctx context.Context, goOn func(took time.Duration) bool) (int, error) {
	total, started := 0, time.Now()
	for ctx.Err() == nil {
		began := time.Now()
		reaped, err := e.store.Reap(ctx, e.config.ReapBatch)
		total += reaped.Deleted
		if err != nil {
			err = AsError(err)
			e.config.Observer(ctx, Event{Kind: Failed, Count: total, Duration: time.Since(started), Err: err})
			return total, err
		}
		if reaped.Busy || reaped.Deleted < e.config.ReapBatch || !goOn(time.Since(began)) {
			break
		}
	}
	if total > 0 {
		e.config.Observer(ctx, Event{Kind: Reaping, Count: total, Duration: time.Since(started)})
	}
	return total, nil
}

// Maintain deletes the records whose retention is over, now and then every Config.ReapInterval until ctx ends, and returns ctx's
// error. Run it in a goroutine of every process: one at a time does the work, and what it did, or why it could not, goes to the
// Observer, at the latest after an interval. After a batch that was full it rests for nine times as long as the batch took, and goes
// on: each process takes no more of the store than a tenth of one connection, and keeps up as long as records are made at less than
// a tenth of the rate at which the store can delete them.
func (e *Engine) Maintain(ctx context.Context) error {
	return every(ctx, e.config.ReapInterval, func() {
		end := time.Now().Add(e.config.ReapInterval)
		_, _ = e.reap(ctx, func(took time.Duration) bool { // what fails goes to the observer, and the next pass tries again
			rest := time.NewTimer(restAfterBatch * took)
			defer rest.Stop()
			select {
			case <-ctx.Done():
				return false
			case <-rest.C:
				return time.Now().Before(end)
			}
		})
	})
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
