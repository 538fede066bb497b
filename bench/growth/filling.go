package growth

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

const (
	// smallest is how many keys there have to be, so that a batch of them is over.
	smallest = 1000
	// overShare is the part of the keys that is over when they are written, up to mostOver; the others expire in the next 24 hours.
	overShare, mostOver = 10, 200_000
	// writers copy at a time.
	writers = 2
)

// fill writes n records, in the order in which they expire, as if they had been made one by one during the last day.
func (w *world) fill(ctx context.Context, n int) error {
	w.size, w.over, w.filled = n, min(n/overShare, mostOver), time.Now()
	restore, err := w.dropIndexes(ctx)
	if err != nil {
		return err
	}
	group, copying := errgroup.WithContext(ctx)
	for part := range writers {
		from, to := n*part/writers, n*(part+1)/writers
		group.Go(func() error { return w.copyRows(copying, from, to, w.expiry) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("write %d records: %w", n, err)
	}
	if err := w.do(ctx, restore...); err != nil {
		return fmt.Errorf("build the indexes over %d records: %w", n, err)
	}
	return w.do(ctx, `VACUUM ANALYZE idempotency_keys`)
}

// expiry is when the n-th record is over: the first are, the others will be.
func (w *world) expiry(n int) time.Time {
	if n < w.over {
		return w.filled.Add(time.Duration(n-w.over) * time.Millisecond).Add(-time.Second)
	}
	return w.filled.Add(time.Hour + time.Duration(float64(23*time.Hour)*float64(n-w.over)/float64(w.size)))
}

func (w *world) copyRows(ctx context.Context, from, to int, expiry func(int) time.Time) error {
	sum := fingerprintOf()
	n := from
	_, err := w.pool.CopyFrom(ctx, pgx.Identifier{"idempotency_keys"}, columns, pgx.CopyFromFunc(func() ([]any, error) {
		if n == to {
			return nil, nil
		}
		n++
		return row(n-1, expiry(n-1), sum[:]), nil
	}))
	return err
}

// dropIndexes takes all indexes away, since they are built faster than filled, and returns what makes them anew.
func (w *world) dropIndexes(ctx context.Context) (restore []string, err error) {
	rows, err := w.pool.Query(ctx, `SELECT coalesce('ALTER TABLE idempotency_keys ADD CONSTRAINT ' || quote_ident(conname) || ' ' || pg_get_constraintdef(c.oid), replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ')),
		coalesce('ALTER TABLE idempotency_keys DROP CONSTRAINT ' || quote_ident(conname), 'DROP INDEX ' || indexrelid::regclass)
		FROM pg_index LEFT JOIN pg_constraint c ON conindid = indexrelid AND contype = 'p'
		WHERE indrelid = 'idempotency_keys'::regclass`)
	if err != nil {
		return nil, err
	}
	var drop []string
	var one, other string
	_, err = pgx.ForEachRow(rows, []any{&one, &other}, func() error {
		restore, drop = append(restore, one), append(drop, other)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return restore, w.do(ctx, drop...)
}

// small is whether to begin anew costs next to nothing.
func (w *world) small() bool { return w.size <= 100_000 }

// refill puts the world back to where it began.
func (w *world) refill(ctx context.Context) error {
	if err := w.do(ctx, `TRUNCATE idempotency_keys`); err != nil {
		return err
	}
	if err := w.fill(ctx, w.size); err != nil {
		return err
	}
	return w.restart()
}

// living returns the n-th record that is not over, counted from the one that expires last.
func (w *world) living(n int) int { return w.size - 1 - n%(w.size-w.over) }

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted)%2 == 1 {
		return sorted[len(sorted)/2]
	}
	return (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
}
