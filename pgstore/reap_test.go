package pgstore_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

const slow = time.Hour

// over puts n records into the table that are over since that many seconds, and a second less each; not in that order.
func (w *world) over(name string, n, since int) {
	w.t.Helper()
	_, err := w.pool.Exec(w.t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, created_at, completed_at, expires_at)
		SELECT 'alice', $1 || n, 'completed', '', 201, now(), now(), now() - ($3 - n) * interval '1 second' FROM generate_series(1, $2::int) n ORDER BY md5(n::text)`, name, n, since)
	require.NoError(w.t, err)
}

func (w *world) reap(limit int) int {
	w.t.Helper()
	reaped, err := w.store.Reap(w.t.Context(), limit)
	require.NoError(w.t, err)
	require.False(w.t, reaped.Busy)
	return reaped.Deleted
}

// sentTo keeps the arguments of one statement each time that it is sent.
type sentTo struct {
	mu   sync.Mutex
	sql  string
	args [][]any
}

func (s *sentTo) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data.SQL == s.sql {
		s.args = append(s.args, slices.Clone(data.Args))
	}
	return ctx
}

func (s *sentTo) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// As long as a snapshot is held that still sees them, no deleted row may be forgotten, and a scan from the beginning visits each.
func TestABatchDoesNotVisitWhatWasReapedBefore(t *testing.T) {
	t.Parallel()
	sent := &sentTo{}
	w := newWorld(t, locally, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.ConnConfig.Tracer = sent })
	sent.sql = w.store.ReapSQL()
	const batch, batches = 200, 20
	w.over("old ", batch*(batches+1), batch*(batches+1)+10)
	_, err := w.pool.Exec(t.Context(), `ANALYZE idempotency_keys`)
	require.NoError(t, err)
	reader, err := w.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer func() { _ = reader.Rollback(context.Background()) }()
	_, err = reader.Exec(t.Context(), `SELECT FROM idempotency_keys LIMIT 1`)
	require.NoError(t, err)

	cost := func(args []any) int {
		tx, err := w.pool.Begin(t.Context())
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(context.Background()) }()
		var plan []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		require.NoError(t, tx.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) `+sent.sql, args...).Scan(&plan))
		return plan[0].Plan.Hit + plan[0].Plan.Read
	}
	for range batches {
		require.Equal(t, batch, w.reap(batch))
	}
	require.Len(t, sent.args, batches)
	first, last := cost(sent.args[0]), cost(sent.args[batches-1])
	require.Greater(t, first, last+batch*batches/2, "a scan from the beginning")
	require.Less(t, last, 10*batch)
	require.Equal(t, batch, w.reap(batch))
	require.Zero(t, w.records())
}

// explains keeps the plan of one statement each time that it is sent, as it is where it is sent.
type explains struct {
	sql   string
	plans []string
}

func (e *explains) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if data.SQL == e.sql {
		rows, _ := conn.Query(ctx, `EXPLAIN (COSTS OFF) `+e.sql, data.Args...)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		e.plans = append(e.plans, strings.Join(lines, "\n")+fmt.Sprint(err))
	}
	return ctx
}

func (e *explains) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// After an upgrade or a restore there are no statistics, and rows that merely come to be over do not have the table analyzed.
func TestWithoutStatisticsABatchDoesNotSortAllThatIsOver(t *testing.T) {
	t.Parallel()
	seen := &explains{}
	w := newWorld(t, locally, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.ConnConfig.Tracer = seen })
	seen.sql = w.store.ReapSQL()
	_, err := w.pool.Exec(t.Context(), `ALTER TABLE idempotency_keys SET (autovacuum_enabled = off)`)
	require.NoError(t, err)
	w.over("old ", 20_000, 30_000)
	for range 2 { // from the beginning, and from where that has ended
		require.Equal(t, 1000, w.reap(1000))
	}
	require.Len(t, seen.plans, 2)
	for _, plan := range seen.plans {
		require.Contains(t, plan, "Index Scan using idempotency_keys_reap")
		require.NotContains(t, plan, "Sort")
	}
}

func TestARecordThatExpiredBeforeThoseAlreadyReapedIsReapedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, locally)
	w.over("first ", 10, 60)
	require.Equal(t, 10, w.reap(10))
	require.Zero(t, w.reap(10))
	w.store.ReapedFromTheBeginning(0) // however slow this machine is
	// Committed late, or brought back.
	w.over("earlier ", 3, 3600)
	require.Equal(t, 3, w.reap(10), "a pass from the beginning that is cheap is made each time")

	w.store.ReapedFromTheBeginning(slow)
	w.over("earlier again ", 5, 3600)
	w.over("later ", 2, 30)
	require.Equal(t, 2, w.reap(2))
	require.Zero(t, w.reap(2), "a pass from the beginning that took long is put off")
	require.Equal(t, 5, w.records())

	w.store.ReapedFromTheBeginning(0)
	require.Equal(t, 2, w.reap(2), "and made later")
	w.store.ReapedFromTheBeginning(slow)
	require.Equal(t, 2, w.reap(2), "what it has begun is finished from where it is")
	require.Equal(t, 1, w.reap(2))
	require.Zero(t, w.reap(2))
	require.Zero(t, w.records())
}

func TestAPassFromTheBeginningIsPutOffNoLongerThanTenMinutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for took, want := range map[time.Duration]time.Duration{
		0: 0, 900 * time.Millisecond: 0, 1100 * time.Millisecond: 110 * time.Second, 4 * time.Second: 400 * time.Second, slow: 10 * time.Minute,
	} {
		require.InDelta(t, want, w.store.ReapedFromTheBeginning(took), float64(time.Second), took)
	}
}

func TestWhatALockKeptFromBeingReapedIsReapedAfterwards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, locally)
	w.over("over ", 10, 60)
	tx, err := w.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM idempotency_keys WHERE key IN ('over 1', 'over 10') FOR UPDATE`)
	require.NoError(t, err)
	require.Equal(t, 8, w.reap(8))
	require.Zero(t, w.reap(8))
	require.NoError(t, tx.Rollback(t.Context()))
	w.store.ReapedFromTheBeginning(0)
	require.Equal(t, 2, w.reap(8))
}

func TestABatchThatWasRolledBackMovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.pool.Exec(t.Context(), `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
		CREATE TRIGGER refuse AFTER DELETE ON idempotency_keys EXECUTE FUNCTION refuse()`)
	require.NoError(t, err)
	w.over("over ", 10, 60)
	reaped, err := w.store.Reap(t.Context(), 5)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.Zero(t, reaped.Deleted)
	_, err = w.pool.Exec(t.Context(), `DROP TRIGGER refuse ON idempotency_keys`)
	require.NoError(t, err)
	w.store.ReapedFromTheBeginning(slow)
	require.Equal(t, 5, w.reap(5))
	require.Equal(t, 5, w.reap(5))
}

// Two rows of two partitions can stand at the same place.
func TestReapingAPartitionedTableDeletesWhatIsOverAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.pool.Exec(t.Context(), `CREATE TABLE partitioned (LIKE idempotency_keys INCLUDING ALL) PARTITION BY HASH (scope, key);
		CREATE TABLE first PARTITION OF partitioned FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE second PARTITION OF partitioned FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		DROP TABLE idempotency_keys;
		ALTER TABLE partitioned RENAME TO idempotency_keys`)
	require.NoError(t, err)
	const n = 500
	_, err = w.pool.Exec(t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, created_at, completed_at, expires_at)
		SELECT 'alice', kept || ' ' || n, 'completed', '', 201, now(), now(), now() + CASE kept WHEN 'kept' THEN 1 ELSE -1 END * interval '1 hour'
		FROM generate_series(1, $1::int) n, (VALUES ('kept'), ('over')) kept (kept) ORDER BY md5(kept || n)`, n)
	require.NoError(t, err)
	// Each partition has some of both, in no order: the places of what is over in one are those of what is kept in the other.
	require.Positive(t, w.count(`SELECT count(*) FROM first, second WHERE first.ctid = second.ctid AND first.expires_at <= now() AND second.expires_at > now()`),
		"nothing can go wrong here")
	for deleted := 0; deleted < n; {
		got := w.reap(50)
		require.Positive(t, got)
		deleted += got
	}
	require.Zero(t, w.reap(50))
	require.Equal(t, n, w.count(`SELECT count(*) FROM idempotency_keys WHERE key LIKE 'kept %'`))
	require.Equal(t, n, w.records())
}

// A deletion that is lost is made again. That requests wait for the standby is enough.
func TestReapingDoesNotWaitForTheStandby(t *testing.T) {
	t.Parallel()
	l := newLonely(t)
	pool, err := pgxpool.New(t.Context(), l.url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Timeout: 3 * time.Second})
	require.NoError(t, err)
	w := &world{t: t, pool: pool, store: store}
	w.over("over ", 10, 60)
	l.await("nobody")
	require.Equal(t, 10, w.reap(100))
	var left int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM idempotency_keys`).Scan(&left))
	require.Zero(t, left)
	l.await("")
}
