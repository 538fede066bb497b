package site

import (
	"context"
	"time"

	"github.com/onlyonce/onlyonce/bench/child"
	"github.com/onlyonce/onlyonce/bench/line"
	"github.com/onlyonce/onlyonce/bench/measure"
)

// Far returns the same servers a round-trip time away, over lines that a process of its own serves until leave is called.
func (c Coordinates) Far(ctx context.Context, rtt time.Duration) (far Coordinates, leave func(), err error) {
	database, err := addressOf(c.Postgres)
	if err != nil {
		return far, nil, err
	}
	order := line.Order{Upstreams: []string{database}, Delay: rtt}
	if c.Redis != "" {
		order.Upstreams = append(order.Upstreams, c.Redis)
	}
	process, err := child.Start(ctx, line.Role, order)
	if err != nil {
		return far, nil, err
	}
	leave = func() { _ = process.End() }
	var addresses []string
	if err := process.Hear(&addresses); err != nil {
		return far, nil, err
	}
	far = c
	if far.Postgres, err = at(c.Postgres, addresses[0]); err != nil {
		leave()
		return far, nil, err
	}
	if c.Redis != "" {
		far.Redis = addresses[1]
	}
	return far, leave, nil
}

// RoundTrips measures what the smallest statement and the smallest command take there, as medians.
func (c Coordinates) RoundTrips(ctx context.Context) (postgres, redis time.Duration, err error) {
	place, leave, err := c.Place(ctx, 1)
	if err != nil {
		return 0, 0, err
	}
	defer leave()
	median := func(do func() error) (time.Duration, error) {
		var times []time.Duration
		for range 200 {
			began := time.Now()
			if err := do(); err != nil {
				return 0, err
			}
			times = append(times, time.Since(began))
		}
		return measure.Quantile(times, 0.5), nil
	}
	postgres, err = median(func() error {
		_, err := place.Pool.Exec(ctx, `SELECT 1`)
		return err
	})
	if err != nil || place.Redis == nil {
		return postgres, 0, err
	}
	redis, err = median(func() error { return place.Redis.Ping(ctx).Err() })
	return postgres, redis, err
}
