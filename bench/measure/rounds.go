package measure

import (
	"context"
	"sync"
	"time"
)

// Round is what one contender did in one turn.
type Round struct {
	PerSecond float64
	// P50 and P99 are in milliseconds.
	P50, P99 float64
}

// Work lets workers call do, each one call after the other, for a while. The first error ends the round.
func Work(ctx context.Context, workers int, length time.Duration, do func(context.Context) error) (Round, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var mu sync.Mutex
	var times []time.Duration
	var all sync.WaitGroup
	began := time.Now()
	for range workers {
		all.Go(func() {
			var mine []time.Duration
			for start := time.Now(); start.Sub(began) < length && ctx.Err() == nil; {
				if err := do(ctx); err != nil {
					stop(err)
					return
				}
				end := time.Now()
				mine = append(mine, end.Sub(start))
				start = end
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
		})
	}
	all.Wait()
	took := time.Since(began)
	if ctx.Err() != nil {
		return Round{}, context.Cause(ctx)
	}
	return Round{
		PerSecond: float64(len(times)) / took.Seconds(),
		P50:       milliseconds(Quantile(times, 0.50)),
		P99:       milliseconds(Quantile(times, 0.99)),
	}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// Turn is one of those who take turns.
type Turn func(ctx context.Context, length time.Duration) (Round, error)

// Interleave has all take a turn in every round, each round beginning with another one, after a round of half the length that
// does not count. It returns, for each, its rounds; done is told of every turn.
func Interleave(ctx context.Context, rounds int, length time.Duration, turns []Turn, done func()) ([][]Round, error) {
	all := make([][]Round, len(turns))
	for n := range rounds + 1 {
		for i := range turns {
			who, long := (i+n)%len(turns), length
			if n == 0 {
				long /= 2
			}
			round, err := turns[who](ctx, long)
			if err != nil {
				return nil, err
			}
			if n > 0 {
				all[who] = append(all[who], round)
			}
			done()
		}
	}
	return all, nil
}

// PerSecond returns the throughput of each round.
func PerSecond(rounds []Round) []float64 {
	return each(rounds, func(r Round) float64 { return r.PerSecond })
}

// P99s returns the rounds' 99th percentiles, in milliseconds.
func P99s(rounds []Round) []float64 { return each(rounds, func(r Round) float64 { return r.P99 }) }

func each(rounds []Round, of func(Round) float64) []float64 {
	values := make([]float64, len(rounds))
	for i, round := range rounds {
		values[i] = of(round)
	}
	return values
}
