package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/pgstore"
)

// lender returns a store on the world's schema whose connections go through a proxy.
func (w *world) lender(mode pgx.QueryExecMode, config pgstore.Config, change ...func(*pgxpool.Config)) (*wireproxy.Proxy, *pgstore.Store) {
	t := w.t
	proxy, err := wireproxy.Listen(pgtest.SchemaURL(t, w.schema), wireproxy.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	url, err := proxy.URL(pgtest.SchemaURL(t, w.schema))
	require.NoError(t, err)
	pool, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	pool.ConnConfig.DefaultQueryExecMode = mode
	pool.MaxConns = 4
	for _, f := range change {
		f(pool)
	}
	connected, err := pgxpool.NewWithConfig(t.Context(), pool)
	require.NoError(t, err)
	t.Cleanup(connected.Close)
	config.Schema, config.Lock = w.schema, lockOfTheRun(t)
	store, err := pgstore.NewWithConfig(connected, config)
	require.NoError(t, err)
	return proxy, store
}

// The statements of a loan, by what no other has.
const (
	acquires = "WITH found AS MATERIALIZED"
	settles  = "SET state = 'completed', fingerprint = "
	extends  = "SET leased_until = clock_timestamp() + $4::bigint * interval '1 microsecond',\n"
	frees    = "WITH forgotten AS"
)

// executes matches a statement of a loan, in any spelling of the clock.
func executes(sql string) func(wireproxy.Statement) bool {
	return func(s wireproxy.Statement) bool {
		return !s.Prepare && strings.Contains(strings.ReplaceAll(s.SQL, "statement_timestamp()", "clock_timestamp()"), sql)
	}
}

func borrowed(owner idempotency.OwnerToken) idempotency.Terms {
	return idempotency.Terms{Owner: owner, Lease: time.Hour, Identity: idempotency.Identity{Fingerprint: idempotency.Fingerprint{1}}}
}

func paidRecord() *idempotency.Record {
	return &idempotency.Record{Fingerprint: idempotency.Fingerprint{1}, Response: idempotency.Response{Status: 201, Header: []byte{}, Body: []byte("paid")}}
}

// borrow acquires the key, which must succeed, and returns which of its owners that is.
func (w *world) borrow(store *pgstore.Store, owner idempotency.OwnerToken) int {
	w.t.Helper()
	lease, found, err := store.Acquire(w.t.Context(), w.key, borrowed(owner))
	require.NoError(w.t, err)
	require.Nil(w.t, found)
	return lease.Attempt
}

func (w *world) settle(store *pgstore.Store, owner idempotency.OwnerToken) (again bool) {
	w.t.Helper()
	again, err := store.Settle(w.t.Context(), w.key, owner, paidRecord(), time.Hour)
	require.NoError(w.t, err)
	return again
}

// stands checks that the key is completed by this record, for a store that has seen nothing of it.
func (w *world) stands() {
	w.t.Helper()
	_, found, err := w.store.Acquire(w.t.Context(), w.key, borrowed(idempotency.NewOwnerToken()))
	require.NoError(w.t, err)
	require.NotNil(w.t, found)
	require.Equal(w.t, "paid", string(found.Response.Body))
	require.Equal(w.t, 1, w.records())
}

// wantInProgress checks that the key is somebody else's.
func (w *world) wantInProgress() {
	w.t.Helper()
	_, _, err := w.store.Acquire(w.t.Context(), w.key, borrowed(idempotency.NewOwnerToken()))
	require.ErrorIs(w.t, err, idempotency.ErrInProgress)
}

// cuts are the ways in which the line of a statement can break, before it has come to the server and after.
var cuts = map[string]wireproxy.Action{
	"cut before": wireproxy.CutBefore, "cut after": wireproxy.CutAfter, "reset before": wireproxy.ResetBefore, "reset after": wireproxy.ResetAfter,
}

func everyCut(t *testing.T, test func(t *testing.T, w *world, mode pgx.QueryExecMode, action wireproxy.Action)) {
	t.Parallel()
	for name, action := range cuts {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
			t.Run(name+"/"+mode.String(), func(t *testing.T) {
				t.Parallel()
				test(t, newWorld(t), mode, action)
			})
		}
	}
}

// marked makes what a statement is known by in a mode: the simple protocol has the values in it.
func marked(mode pgx.QueryExecMode, sql string) string {
	if mode == pgx.QueryExecModeSimpleProtocol {
		sql, _, _ = strings.Cut(sql, "$")
		sql = strings.TrimRight(sql, " ")
	}
	return sql
}

func TestAKeyIsLentOnceWhoseReplyIsLost(t *testing.T) {
	everyCut(t, func(t *testing.T, w *world, mode pgx.QueryExecMode, action wireproxy.Action) {
		proxy, store := w.lender(mode, pgstore.Config{})
		cut := proxy.At(executes(marked(mode, acquires)), action)
		owner := idempotency.NewOwnerToken()
		require.Equal(t, 1, w.borrow(store, owner))
		<-cut.Done()
		w.wantInProgress()
		require.False(t, w.settle(store, owner))
		w.stands()
	})
}

func TestARecordIsStoredOnceWhoseReplyIsLost(t *testing.T) {
	everyCut(t, func(t *testing.T, w *world, mode pgx.QueryExecMode, action wireproxy.Action) {
		proxy, store := w.lender(mode, pgstore.Config{})
		owner := idempotency.NewOwnerToken()
		w.borrow(store, owner)
		cut := proxy.At(executes(marked(mode, settles)), action)
		require.False(t, w.settle(store, owner), "it was this call that has stored it")
		<-cut.Done()
		require.True(t, w.settle(store, owner))
		w.stands()
	})
}

func TestALeaseIsMovedWhoseReplyIsLost(t *testing.T) {
	everyCut(t, func(t *testing.T, w *world, mode pgx.QueryExecMode, action wireproxy.Action) {
		proxy, store := w.lender(mode, pgstore.Config{})
		owner := idempotency.NewOwnerToken()
		w.borrow(store, owner)
		cut := proxy.At(executes(marked(mode, extends)), action)
		require.NoError(t, store.Extend(t.Context(), w.key, owner, 5*time.Hour))
		<-cut.Done()
		require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE leased_until BETWEEN now() + interval '4 hours' AND now() + interval '6 hours'
			AND expires_at BETWEEN leased_until + interval '23 hours' AND leased_until + interval '25 hours'`))
	})
}

func TestAKeyIsFreeWhoseReplyIsLost(t *testing.T) {
	everyCut(t, func(t *testing.T, w *world, mode pgx.QueryExecMode, action wireproxy.Action) {
		proxy, store := w.lender(mode, pgstore.Config{})
		owner := idempotency.NewOwnerToken()
		w.borrow(store, owner)
		cut := proxy.At(executes(marked(mode, frees)), action)
		require.NoError(t, store.Free(t.Context(), w.key, owner))
		<-cut.Done()
		require.Equal(t, 1, w.borrow(w.store, idempotency.NewOwnerToken()))
	})
}

// A line whose sender has given up may be slow, and not broken: what was sent comes to the server when all is over.
func TestWhatComesLateChangesNothing(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{"an Acquire": acquires, "a Settle": settles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy, store := w.lender(pgx.QueryExecModeCacheStatement, pgstore.Config{})
			late := proxy.At(executes(sql), wireproxy.Orphan)
			owner := idempotency.NewOwnerToken()
			require.Equal(t, 1, w.borrow(store, owner))
			require.False(t, w.settle(store, owner))
			var before, after string
			const all = `SELECT md5(string_agg(k::text, '')) FROM idempotency_keys k`
			require.NoError(t, w.pool.QueryRow(t.Context(), all).Scan(&before))
			<-late.Reached()
			late.Resume()
			<-late.Done()
			require.NoError(t, w.pool.QueryRow(t.Context(), all).Scan(&after))
			require.Equal(t, before, after)
			w.stands()
		})
	}
}

// The owner before comes back while the next one works: its record is refused, also if it was sent before the key was taken over.
func TestASettleThatComesAfterTheTakeOverIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy, store := w.lender(pgx.QueryExecModeCacheStatement, pgstore.Config{})
	owner, next := idempotency.NewOwnerToken(), idempotency.NewOwnerToken()
	w.borrow(store, owner)
	stopped := proxy.At(executes(settles), wireproxy.Stop)
	settled := make(chan error, 1)
	go func() {
		_, err := store.Settle(context.WithoutCancel(t.Context()), w.key, owner, paidRecord(), time.Hour)
		settled <- err
	}()
	<-stopped.Reached()
	_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 second'`)
	require.NoError(t, err)
	require.Equal(t, 2, w.borrow(w.store, next))
	stopped.Resume()
	require.ErrorIs(t, <-settled, idempotency.ErrLeaseLost)
	w.wantInProgress()
	require.False(t, w.settle(w.store, next))
	w.stands()
}

func TestASettleThatIsNeverAnsweredIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy, store := w.lender(pgx.QueryExecModeCacheStatement, pgstore.Config{ReadBackTimeout: 2 * time.Second})
	owner := idempotency.NewOwnerToken()
	w.borrow(store, owner)
	for range 100 { // more often than it can be tried
		proxy.At(executes(settles), wireproxy.CutAfter)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what the record is about has happened, whoever waits for it
	_, err := store.Settle(ctx, w.key, owner, paidRecord(), time.Hour)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	require.True(t, w.settle(w.store, owner), "it was stored")
	w.stands()
}

// The primary that has stored the record may be a standby by now, and the standby that is asked, behind.
func TestASettleThatIsLostInAFailoverIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var standby atomic.Bool
	proxy, store := w.lender(pgx.QueryExecModeCacheStatement, pgstore.Config{ReadBackTimeout: 2 * time.Second}, func(c *pgxpool.Config) {
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) (err error) {
			if standby.Load() {
				_, err = conn.Exec(ctx, `SET default_transaction_read_only = on`)
			}
			return err
		}
	})
	owner := idempotency.NewOwnerToken()
	w.borrow(store, owner)
	standby.Store(true)
	cut := proxy.At(executes(settles), wireproxy.CutAfter)
	_, err := store.Settle(t.Context(), w.key, owner, paidRecord(), time.Hour)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	<-cut.Done()
	require.True(t, w.settle(w.store, owner))
}

func TestASettleThatCannotBeSentHasNotHappened(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy, store := w.lender(pgx.QueryExecModeCacheStatement, pgstore.Config{ReadBackTimeout: 200 * time.Millisecond})
	owner := idempotency.NewOwnerToken()
	w.borrow(w.store, owner)
	require.NoError(t, proxy.Close())
	_, err := store.Settle(t.Context(), w.key, owner, paidRecord(), time.Hour)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.False(t, w.settle(w.store, owner))
}

// A restart of the database leaves the pool full of connections that are dead.
func TestALoanSurvivesTheConnectionsItWasMadeOn(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		owner := idempotency.NewOwnerToken()
		steps := []func(){
			func() { require.Equal(t, 1, w.borrow(w.store, owner)) },
			func() { require.NoError(t, w.store.Extend(t.Context(), w.key, owner, time.Hour)) },
			func() { require.NoError(t, w.store.Free(t.Context(), w.key, owner)) },
			func() { require.Equal(t, 1, w.borrow(w.store, owner)) },
			func() { require.False(t, w.settle(w.store, owner)) },
			func() { w.stands() },
		}
		outside := pgtest.Pool(t, w.schema)
		for _, step := range steps {
			step()
			var pids []int32
			var all []*pgxpool.Conn
			for range 4 {
				conn, err := w.pool.Acquire(t.Context())
				require.NoError(t, err)
				all, pids = append(all, conn), append(pids, int32(conn.Conn().PgConn().PID()))
			}
			var killed int
			require.NoError(t, outside.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(p)) FROM unnest($1::int[]) p`, pids).Scan(&killed))
			for _, conn := range all {
				conn.Release()
			}
		}
	})
}

// Four processes, each of which may be late: leases of milliseconds are taken over all the time.
func TestOfManyProcessesWithShortLeasesOneStoresItsRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	owners, settled := map[int]int{}, 0
	var group sync.WaitGroup
	for process := range 4 {
		pool := pgtest.Pool(t, w.schema, func(c *pgxpool.Config) {
			c.MaxConns = 2
			c.ConnConfig.RuntimeParams["default_transaction_isolation"] = []string{"read committed", "repeatable read", "serializable", "read committed"}[process]
		})
		store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: w.schema, Lock: lockOfTheRun(t)})
		require.NoError(t, err)
		for range 4 {
			group.Go(func() {
				for {
					terms := borrowed(idempotency.NewOwnerToken())
					terms.Lease = time.Millisecond
					lease, found, err := store.Acquire(t.Context(), w.key, terms)
					switch {
					case found != nil:
						return
					case lease == nil:
						if !errors.Is(err, idempotency.ErrInProgress) {
							t.Errorf("Acquire: %v", err)
							return
						}
						continue
					}
					mu.Lock()
					owners[lease.Attempt]++
					twice := owners[lease.Attempt] > 1
					mu.Unlock()
					if twice {
						t.Errorf("attempt %d has two owners", lease.Attempt)
						return
					}
					if lease.Attempt < 40 {
						continue
					}
					again, err := store.Settle(t.Context(), w.key, terms.Owner, &idempotency.Record{Fingerprint: idempotency.Fingerprint{1},
						Response: idempotency.Response{Status: 201, Body: fmt.Append(nil, lease.Attempt)}}, time.Hour)
					switch {
					case err == nil && !again:
						mu.Lock()
						settled++
						mu.Unlock()
					case !errors.Is(err, idempotency.ErrLeaseLost):
						t.Errorf("Settle: %v, %v", again, err)
					}
				}
			})
		}
	}
	group.Wait()
	require.Equal(t, 1, settled)
	require.GreaterOrEqual(t, len(owners), 40)
}
