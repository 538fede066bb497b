package growth

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// pace is what one round came to.
type pace struct {
	perSecond float64
	p99       time.Duration
	wal       float64 // bytes of write-ahead log for each
}

// round has as many workers as there are connections do the same for a while.
func (w *world) round(ctx context.Context, workers int, length time.Duration, do func(context.Context) error) (pace, error) {
	const log = `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`
	before, err := w.number(ctx, log)
	if err != nil {
		return pace{}, err
	}
	var mu sync.Mutex
	var times []time.Duration
	var failed error
	var wg sync.WaitGroup
	began := time.Now()
	for range workers {
		wg.Go(func() {
			var mine []time.Duration
			var err error
			for time.Since(began) < length && ctx.Err() == nil && err == nil {
				start := time.Now()
				err = do(ctx)
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			times, failed = append(times, mine...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	if err := errors.Join(failed, ctx.Err()); err != nil {
		return pace{}, err
	}
	after, err := w.number(ctx, log)
	if err != nil {
		return pace{}, err
	}
	slices.Sort(times)
	return pace{float64(len(times)) / took, times[len(times)*99/100], float64(after-before) / float64(len(times))}, nil
}
