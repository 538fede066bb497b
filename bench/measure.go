package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
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
			_, err := payment(ctx, tx)
			return err
		})
	}
}

func (db *database) protected(engine *idempotency.Engine) contender {
	return func(ctx context.Context) error {
		_, err := engine.Run(ctx, db.request(), handler)
		return err
	}
}

func handler(ctx context.Context) (idempotency.Response, error) {
	return payment(ctx, pgstore.Tx(ctx))
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

// throughput has the contenders take turns, and compares within each round: a ratio is the median of the rounds' ratios.
func (db *database) throughput(ctx context.Context, delay time.Duration, connections, rounds int, length time.Duration) (string, error) {
	var pools [3]*pgxpool.Pool
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
	contenders := [...]contender{db.plain(pools[0]), db.protected(engine), db.byHand(pools[2])}
	var speed, p99, ratio [3][]float64
	var tail []float64
	for n := range rounds + 1 { // the first warms up
		var s, p [3]float64
		for turn := range contenders {
			who := (turn + n) % len(contenders)
			perSecond, slowest, err := round(ctx, connections, length, contenders[who])
			if err != nil {
				return "", err
			}
			s[who], p[who] = perSecond, float64(slowest.Microseconds())/1000
		}
		if n == 0 {
			continue
		}
		for who := range contenders {
			speed[who], p99[who], ratio[who] = append(speed[who], s[who]), append(p99[who], p[who]), append(ratio[who], s[who]/s[0])
		}
		tail = append(tail, p[1]/p[0])
	}
	return fmt.Sprintf("| %s | %d | %.0f | %.0f | **%.2f** | %.2f | %.2f ms | %.2f ms | %.2f |", rtt(delay), connections,
		median(speed[0]), median(speed[1]), median(ratio[1]), median(ratio[2]), median(p99[0]), median(p99[1]), median(tail)), nil
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
		_, err := engine.Run(ctx, request, handler)
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
// every page once since the last checkpoint. Keys in random order split the pages of the primary key in the middle, and
// keys in the order of time at the end.
func (db *database) wal(ctx context.Context) (string, error) {
	engine, err := engineOn(db.admin, idempotency.Config{})
	if err != nil {
		return "", err
	}
	ordered := func(ctx context.Context) error {
		request := db.request()
		request.Key.Value = uuid7()
		_, err := engine.Run(ctx, request, handler)
		return err
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
	contenders := [...]contender{db.plain(db.admin), db.protected(engine), ordered}
	var bytes [len(contenders)][]float64
	for n := range 4 {
		for who, pay := range contenders {
			b, err := perPayment(pay)
			if err != nil {
				return "", err
			}
			if n > 0 {
				bytes[who] = append(bytes[who], b)
			}
		}
	}
	plain := median(bytes[0])
	return fmt.Sprintf("WAL of a payment: plain %.0f B; above plain %.0f B with random keys (UUIDv4), %.0f B with keys ordered by time (UUIDv7)",
		plain, median(bytes[1])-plain, median(bytes[2])-plain), nil
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
	if _, err := engine.Run(ctx, request, handler); err != nil {
		return "", err
	}
	replay := func(ctx context.Context) error {
		request := db.request()
		request.Key.Value = keys[mathrand.IntN(len(keys))]
		result, err := engine.Run(ctx, request, handler)
		if err == nil && !result.Replayed {
			err = fmt.Errorf("a replay was none")
		}
		return err
	}
	keys = nil
	for range 1000 {
		request := db.request()
		if _, err := stranger.Run(ctx, request, handler); err != nil {
			return "", err
		}
		keys = append(keys, request.Key.Value)
	}
	for _, key := range keys { // this process sees each once, and remembers
		request := db.request()
		request.Key.Value = key
		if _, err := engine.Run(ctx, request, handler); err != nil {
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

// uuid4 and uuid7 differ in what the primary key makes of them: nothing but the order counts.
func uuid4() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return format(b)
}

func uuid7() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixNano()))
	return format(b)
}

func format(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
