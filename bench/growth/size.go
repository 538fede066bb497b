package growth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Size is what was measured beside a number of stored keys. What is relative compares with the smallest number, in the same rounds,
// and is the median of the rounds' own ratios: more than 1 is more expensive.
type Size struct {
	Keys int
	// Fresh are payments with new keys each second, FreshWAL is what one writes to the write-ahead log, in bytes.
	Fresh, FreshRelative, FreshWAL, FreshP99Relative float64
	// Replay are replays of random keys each second; Warm are those of a thousand of them, over and over.
	Replay, ReplayRelative, Warm, WarmRelative float64
	// Reap is what the deletion of a batch of 1,000 takes.
	Reap         time.Duration
	ReapRelative float64
	Space        Space
	// Filling is how long it took to write the records and to build the indexes.
	Filling time.Duration
}

// Space is what stands on the disk for each key, in bytes.
type Space struct {
	Table, PrimaryKey, Expiry float64
	Total                     int64 // of all keys, with what else the table has
}

func (w *world) space(ctx context.Context) (s Space, err error) {
	all := func(of, relation string) string { // its partitions', where it has any
		return `(SELECT sum(` + of + `(relid)) FROM (SELECT relid FROM pg_partition_tree('` + relation + `') UNION SELECT '` + relation + `'::regclass) parts)`
	}
	err = w.pool.QueryRow(ctx, `SELECT `+all("pg_table_size", "idempotency_keys")+`::float8 / $1, `+all("pg_relation_size", "idempotency_keys_pkey")+`::float8 / $1,
		`+all("pg_relation_size", "idempotency_keys_reap")+`::float8 / $1, `+all("pg_total_relation_size", "idempotency_keys")+`::bigint`, max(1, w.size)).
		Scan(&s.Table, &s.PrimaryKey, &s.Expiry, &s.Total)
	return s, err
}

const batch = 1000

func measureSize(ctx context.Context, c Config, base, w *world) (Size, error) {
	s := Size{Keys: w.size}
	var err error
	if s.Space, err = w.space(ctx); err != nil {
		return s, err
	}
	c.Progress(fmt.Sprintf("%s: replays", spell(w.size)))
	if s.Replay, s.ReplayRelative, _, _, err = compare(ctx, c, base, w, replays(1<<62), false); err != nil {
		return s, fmt.Errorf("replays beside %d keys: %w", w.size, err)
	}
	if s.Warm, s.WarmRelative, _, _, err = compare(ctx, c, base, w, replays(1000), false); err != nil {
		return s, fmt.Errorf("replays beside %d keys: %w", w.size, err)
	}
	c.Progress(fmt.Sprintf("%s: reaping", spell(w.size)))
	if s.Reap, s.ReapRelative, err = compareReaping(ctx, c, base, w); err != nil {
		return s, fmt.Errorf("reaping beside %d keys: %w", w.size, err)
	}
	c.Progress(fmt.Sprintf("%s: payments with fresh keys", spell(w.size)))
	s.Fresh, s.FreshRelative, s.FreshP99Relative, s.FreshWAL, err = compare(ctx, c, base, w, payments, true)
	if err != nil {
		return s, fmt.Errorf("payments beside %d keys: %w", w.size, err)
	}
	return s, nil
}

// payments makes payments with new keys.
func payments(w *world) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := w.engine.Run(ctx, fresh(), pay)
		return err
	}
}

// replays repeats requests of the last most stored keys, in random order.
func replays(most int) func(w *world) func(context.Context) error {
	return func(w *world) func(context.Context) error {
		among := min(most, w.size-w.over)
		return func(ctx context.Context) error {
			result, err := w.engine.Run(ctx, again(w.living(rand.IntN(among))), func(context.Context) (idempotency.Response, error) {
				return idempotency.Response{}, errors.New("a stored key was not replayed: does something else use the schema?")
			})
			if err == nil && !result.Replayed {
				err = errors.New("a replay was none")
			}
			return err
		}
	}
}

// compare has the two worlds take turns, and says how many there were each second in w, and how much more one costs there than in base.
// A checkpoint comes before: what is changed first after it goes into the log as a whole page, which is what payments beside
// many keys pay for.
func compare(ctx context.Context, c Config, base, w *world, what func(*world) func(context.Context) error, grows bool) (perSecond, relative, tail, wal float64, err error) {
	_ = w.do(ctx, `CHECKPOINT`) // who may not make one does without
	var speeds, costs, tails, logs []float64
	for n := range c.Rounds + 1 { // the first warms up
		var got [2]pace
		for turn := range got {
			who := (turn + n) % 2
			world := [2]*world{base, w}[who]
			if grows && world.small() { // so that it stays so
				if err := world.refill(ctx); err != nil {
					return 0, 0, 0, 0, err
				}
			}
			if got[who], err = world.round(ctx, c.Connections, c.Length, what(world)); err != nil {
				return 0, 0, 0, 0, err
			}
		}
		if n > 0 {
			speeds, logs = append(speeds, got[1].perSecond), append(logs, got[1].wal)
			costs = append(costs, got[0].perSecond/got[1].perSecond)
			tails = append(tails, float64(got[1].p99)/float64(got[0].p99))
		}
	}
	return median(speeds), median(costs), median(tails), median(logs), nil
}

// compareReaping deletes a batch here and a batch there, by turns.
func compareReaping(ctx context.Context, c Config, base, w *world) (time.Duration, float64, error) {
	limit := min(batch, base.over)
	var times, ratios []float64
	for n := range min(2*c.Rounds+1, max(1, w.over/limit)) {
		var took [2]float64
		for turn := range took {
			who := (turn + n) % 2
			world := [2]*world{base, w}[who]
			var err error
			if world.small() {
				err = world.refill(ctx)
			}
			if err == nil {
				took[who], err = world.reapOnce(ctx, limit)
			}
			if err != nil {
				return 0, 0, err
			}
		}
		times, ratios = append(times, took[1]), append(ratios, took[1]/took[0])
	}
	return time.Duration(median(times) * batch / float64(limit)), median(ratios), nil
}

func (w *world) reapOnce(ctx context.Context, limit int) (float64, error) {
	began := time.Now()
	reaped, err := w.store.Reap(ctx, limit)
	took := float64(time.Since(began))
	if err == nil && reaped.Deleted < limit { // partitions may give more
		err = fmt.Errorf("%d records were over, not %d: does something else use the schema?", reaped.Deleted, limit)
	}
	return took, err
}
