package main

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/pgstore"
)

// contender makes one payment.
type contender func(ctx context.Context) error

func (db *database) plain(pool *pgxpool.Pool) contender {
	return func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := pay(ctx, tx, 1+mathrand.Int64N(accounts))
			return err
		})
	}
}

func (db *database) protected(engine *idempotency.Engine) contender {
	return func(ctx context.Context) error {
		_, err := engine.Run(ctx, db.request(), db.payment)
		return err
	}
}

func (db *database) payment(ctx context.Context) (idempotency.Response, error) {
	payment, err := pay(ctx, pgstore.Tx(ctx), 1+mathrand.Int64N(accounts))
	return idempotency.Response{
		Status: 201,
		Header: fmt.Appendf(nil, "Content-Type: application/json\r\nLocation: /api/v1/payments/%d\r\n", payment),
		Body:   fmt.Appendf(nil, `{"id":%d,"amount":100,"currency":"USD","status":"succeeded"}`, payment),
	}, err
}

// round lets as many workers as there are connections make payments for a while.
func round(ctx context.Context, workers int, length time.Duration, pay contender) (perSecond float64, p99 time.Duration, err error) {
	var mu sync.Mutex
	var times []time.Duration
	var wg sync.WaitGroup
	began := time.Now()
	for range workers {
		wg.Go(func() {
			var mine []time.Duration
			for time.Since(began) < length && ctx.Err() == nil {
				start := time.Now()
				if e := pay(ctx); e != nil {
					mu.Lock()
					err = e
					mu.Unlock()
					return
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
		})
	}
	wg.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil || len(times) == 0 {
		return 0, 0, err
	}
	slices.Sort(times)
	return float64(len(times)) / time.Since(began).Seconds(), times[len(times)*99/100], nil
}

// throughput has both take turns, and compares within each round: the ratio is the median of the rounds' ratios.
func (db *database) throughput(ctx context.Context, delay time.Duration, connections, rounds int, length time.Duration) (string, error) {
	var pools [2]*pgxpool.Pool
	for i := range pools {
		var err error
		if pools[i], err = db.pool(ctx, connections, delay); err != nil {
			return "", err
		}
		defer pools[i].Close()
	}
	engine, err := engineOn(pools[1], idempotency.Config{})
	if err != nil {
		return "", err
	}
	both := [2]contender{db.plain(pools[0]), db.protected(engine)}
	var speed, p99 [2][]float64
	var ratio, tail []float64
	for n := range rounds + 1 { // the first warms up
		var s, p [2]float64
		for turn := range both {
			who := (turn + n) % 2
			perSecond, slowest, err := round(ctx, connections, length, both[who])
			if err != nil {
				return "", err
			}
			s[who], p[who] = perSecond, float64(slowest.Microseconds())/1000
		}
		if n == 0 {
			continue
		}
		for who := range both {
			speed[who], p99[who] = append(speed[who], s[who]), append(p99[who], p[who])
		}
		ratio, tail = append(ratio, s[1]/s[0]), append(tail, p[1]/p[0])
	}
	return fmt.Sprintf("| %s | %d | %.0f | %.0f | **%.2f** | %.2f ms | %.2f ms | %.2f |", rtt(delay), connections,
		median(speed[0]), median(speed[1]), median(ratio), median(p99[0]), median(p99[1]), median(tail)), nil
}

// roundTrips counts, on the wire and with everything prepared, what a payment takes.
func (db *database) roundTrips(ctx context.Context) (string, error) {
	proxy, err := wireproxy.Listen(db.url, wireproxy.Config{})
	if err != nil {
		return "", err
	}
	defer proxy.Close()
	var behind database
	if behind.url, err = proxy.URL(db.url); err != nil {
		return "", err
	}
	pool, err := behind.pool(ctx, 1, 0)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	engine, err := engineOn(pool, idempotency.Config{})
	if err != nil {
		return "", err
	}
	request := db.request()
	replay := func(ctx context.Context) error {
		_, err := engine.Run(ctx, request, db.payment)
		return err
	}
	var counts []any
	for _, pay := range []contender{db.plain(pool), db.protected(engine), replay} {
		for range 2 { // the first prepares, and makes the replayed payment
			if err := pay(ctx); err != nil {
				return "", err
			}
		}
		proxy.Forget()
		if err := pay(ctx); err != nil {
			return "", err
		}
		counts = append(counts, proxy.RoundTrips())
	}
	return fmt.Sprintf("round trips: plain %d, protected %d, replay %d", counts...), nil
}

// wal measures the bytes of write-ahead log of a payment with and without protection, after a warm-up that has written
// every page once since the last checkpoint.
func (db *database) wal(ctx context.Context) (string, error) {
	engine, err := engineOn(db.admin, idempotency.Config{})
	if err != nil {
		return "", err
	}
	const payments = 3000
	perPayment := func(pay contender) (float64, error) {
		var before, after int64
		const sql = `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`
		if err := db.admin.QueryRow(ctx, sql).Scan(&before); err != nil {
			return 0, err
		}
		for range payments {
			if err := pay(ctx); err != nil {
				return 0, err
			}
		}
		err := db.admin.QueryRow(ctx, sql).Scan(&after)
		return float64(after-before) / payments, err
	}
	var plain, protected []float64
	for n := range 4 {
		p, err := perPayment(db.plain(db.admin))
		if err != nil {
			return "", err
		}
		q, err := perPayment(db.protected(engine))
		if err != nil {
			return "", err
		}
		if n > 0 {
			plain, protected = append(plain, p), append(protected, q)
		}
	}
	return fmt.Sprintf("WAL of a payment: plain %.0f B, protected %.0f B, above plain %.0f B", median(plain), median(protected), median(protected)-median(plain)), nil
}

// replays compares answering a retry with making the payment.
func (db *database) replays(ctx context.Context) (string, error) {
	pool, err := db.pool(ctx, 8, 0)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	engine, err := engineOn(pool, idempotency.Config{})
	if err != nil {
		return "", err
	}
	stranger, err := engineOn(pool, idempotency.Config{})
	if err != nil {
		return "", err
	}
	request := db.request()
	if _, err := engine.Run(ctx, request, db.payment); err != nil {
		return "", err
	}
	replay := func(ctx context.Context) error {
		request := db.request()
		request.Key.Value = keys[mathrand.IntN(len(keys))]
		result, err := engine.Run(ctx, request, db.payment)
		if err == nil && !result.Replayed {
			err = fmt.Errorf("a replay was none")
		}
		return err
	}
	keys = nil
	for range 1000 {
		request := db.request()
		if _, err := stranger.Run(ctx, request, db.payment); err != nil {
			return "", err
		}
		keys = append(keys, request.Key.Value)
	}
	for _, key := range keys { // this process sees each once, and remembers
		request := db.request()
		request.Key.Value = key
		if _, err := engine.Run(ctx, request, db.payment); err != nil {
			return "", err
		}
	}
	var ratios []float64
	for range 5 {
		fresh, _, err := round(ctx, 8, time.Second, db.plain(pool))
		if err != nil {
			return "", err
		}
		replayed, _, err := round(ctx, 8, time.Second, replay)
		if err != nil {
			return "", err
		}
		ratios = append(ratios, replayed/fresh)
	}
	return fmt.Sprintf("replays ÷ plain payments, 8 connections: %.1f", median(ratios)), nil
}

var keys []string

func rtt(delay time.Duration) string {
	if delay == 0 {
		return "loopback"
	}
	return "+ " + delay.String()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted)%2 == 1 {
		return sorted[len(sorted)/2]
	}
	return (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
