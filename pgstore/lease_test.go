package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// An advisory lock keeps other claims off a key, and no loan: whoever has a row first has the key.
func TestAnAttemptWhoseKeyIsLentMeanwhileIsRolledBack(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		for _, status := range []int{201, 402} {
			t.Run(fmt.Sprint(lock, " ", status), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, by(lock))
				owner := idempotency.NewOwnerToken()
				ran := 0
				_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
					ran++
					_, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('paid')`)
					require.NoError(t, err)
					lease, _, lent := w.store.Acquire(context.WithoutCancel(t.Context()), w.key, borrowed(owner))
					if lock == pgstore.InsertClaim { // its row is there, and nobody sees it
						require.ErrorIs(t, lent, idempotency.ErrInProgress)
					} else {
						require.NoError(t, lent)
						require.Equal(t, 1, lease.Attempt)
					}
					return idempotency.Response{Status: status}, nil
				})
				require.Equal(t, 1, ran)
				if lock == pgstore.InsertClaim {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, idempotency.ErrTransactionConflict)
				require.Equal(t, 0, w.effects())
				require.False(t, w.settle(w.store, owner))
				w.stands()
			})
		}
	}
}

// The same with a first recovery point, whose row is refused.
func TestAChainWhoseKeyIsLentMeanwhileEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, by(pgstore.LocalLock))
	owner := idempotency.NewOwnerToken()
	_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
		w.borrow(w.store, owner)
		return idempotency.Response{Status: 201}, step(ctx, "one")
	})
	require.ErrorIs(t, err, idempotency.ErrLeaseLost)
	require.Equal(t, 0, w.count(`SELECT count(*) FROM effects WHERE name = 'one'`))
	require.False(t, w.settle(w.store, owner))
}

func TestAReplayAndAKeyInProgressWriteNothing(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		owner := idempotency.NewOwnerToken()
		untouched := func(ask func()) {
			t.Helper()
			var before, after string
			const row = `SELECT ctid::text || ' ' || xmin || ' ' || xmax FROM idempotency_keys`
			require.NoError(t, w.pool.QueryRow(t.Context(), row).Scan(&before))
			ask()
			require.NoError(t, w.pool.QueryRow(t.Context(), row).Scan(&after))
			require.Equal(t, before, after)
		}
		w.borrow(w.store, owner)
		untouched(w.wantInProgress)
		_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 second'`)
		require.NoError(t, err)
		other := borrowed(idempotency.NewOwnerToken())
		other.Fingerprint = idempotency.Fingerprint{2}
		untouched(func() {
			_, _, err := w.store.Acquire(t.Context(), w.key, other)
			require.ErrorIs(t, err, idempotency.ErrKeyReused)
		})
		w.settle(w.store, owner)
		untouched(w.stands)
		untouched(func() { require.True(t, w.settle(w.store, owner)) })
	})
}

func TestALoanIsLookedForByThePrimaryKeyAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, by(pgstore.LocalLock))
	_, err := w.pool.Exec(t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, expires_at, owner, leased_until)
		SELECT 'scope ' || n % 10, n::text, (ARRAY['pending', 'completed'])[1 + n % 2], '', 200, '', '', now(), now(), '\x00', now() FROM generate_series(1, 20000) n`)
	require.NoError(t, err)
	for _, analyzed := range []string{`SELECT 1`, `ANALYZE idempotency_keys`} {
		_, err := w.pool.Exec(t.Context(), analyzed)
		require.NoError(t, err)
		owner, fingerprint := make([]byte, 16), make([]byte, 33)
		for sql, args := range map[string][]any{
			w.store.AcquireSQL(): {"scope 1", "11", owner, fingerprint, fingerprint, 1, 1, "100"},
			w.store.SettleSQL():  {"scope 1", "11", owner, fingerprint, 200, owner, owner, 1},
			w.store.ExtendSQL():  {"scope 1", "11", owner, 1},
			w.store.FreeSQL():    {"scope 1", "11", owner},
		} {
			rows, err := w.pool.Query(t.Context(), `EXPLAIN (COSTS OFF) `+sql, args...)
			require.NoError(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			plan := strings.Join(lines, "\n")
			require.Contains(t, plan, "idempotency_keys_pkey", plan)
			require.NotContains(t, plan, "Seq Scan", plan)
			require.NotContains(t, plan, "_reap", plan)
			require.NotContains(t, plan, "_resume", plan)
			require.NotContains(t, plan, "Filter: ((scope", plan)
		}
	}
}

func TestEachStepOfALoanIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy, store := w.lender(pgx.QueryExecModeCacheStatement, pgstore.Config{})
	owner := idempotency.NewOwnerToken()
	another := func() { _, _, _ = store.Acquire(t.Context(), w.key, borrowed(idempotency.NewOwnerToken())) }
	steps := []struct {
		name string
		run  func()
	}{
		{"Acquire", func() { w.borrow(store, owner) }},
		{"Acquire of another's", another},
		{"Extend", func() { require.NoError(t, store.Extend(t.Context(), w.key, owner, time.Hour)) }},
		{"Free", func() { require.NoError(t, store.Free(t.Context(), w.key, owner)) }},
		{"Acquire of a freed key", func() { w.borrow(store, owner) }},
		{"Settle", func() { require.False(t, w.settle(store, owner)) }},
		{"Acquire of a record", another},
	}
	once := func(count bool) {
		for _, step := range steps {
			before := proxy.RoundTrips()
			step.run()
			if count {
				require.Equal(t, 1, proxy.RoundTrips()-before, step.name)
			}
		}
		_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET expires_at = now() - interval '1 second'`)
		require.NoError(t, err)
		before := proxy.RoundTrips()
		w.borrow(store, owner)
		if count {
			require.Equal(t, 1, proxy.RoundTrips()-before, "Acquire of what has expired")
		}
		require.NoError(t, store.Free(t.Context(), w.key, owner))
	}
	once(false) // which prepares the statements
	once(true)
}

// An attempt of InsertClaim's has a row that nobody sees before its commit. Who has waited for that looks again.
func TestALoanThatWaitedForAnAttemptFindsItsRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, by(pgstore.InsertClaim))
	for round := range 40 { // the wait is a short one: now and then it is over first
		w.key.Value = fmt.Sprint(w.schema, round)
		attempt, _, err := w.store.Claim(t.Context(), w.key)
		require.NoError(t, err)
		var found *idempotency.Record
		acquired := make(chan error, 1)
		go func() {
			var err error
			_, found, err = w.store.Acquire(context.WithoutCancel(t.Context()), w.key, borrowed(idempotency.NewOwnerToken()))
			acquired <- err
		}()
		for w.count(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'`, w.schema) == 0 && len(acquired) == 0 {
		}
		_, err = attempt.Complete(t.Context(), paidRecord(), time.Hour)
		require.NoError(t, err)
		if err = <-acquired; err == nil {
			require.Equal(t, "paid", string(found.Response.Body))
			return
		}
		require.ErrorIs(t, err, idempotency.ErrInProgress)
	}
	t.Fatal("the wait was never long enough")
}

// What a server's own default is does not matter: a conflict between two transactions is not one between two owners.
func TestEveryIsolationThatIsTheServersDefaultLendsKeys(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
				c.MaxConns = 8
				c.ConnConfig.RuntimeParams["default_transaction_isolation"] = level
			})
			for round := range 40 {
				w.key.Value = w.schema + "-" + string(rune('a'+round))
				if round%2 == 1 {
					w.borrow(w.store, idempotency.NewOwnerToken())
					_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 second' WHERE key = $1`, w.key.Value)
					require.NoError(t, err)
				}
				var group sync.WaitGroup
				var mu sync.Mutex
				var owners []idempotency.OwnerToken
				for range 8 {
					group.Go(func() {
						terms := borrowed(idempotency.NewOwnerToken())
						lease, _, err := w.store.Acquire(t.Context(), w.key, terms)
						if lease == nil && !errors.Is(err, idempotency.ErrInProgress) {
							t.Errorf("Acquire: %v", err)
						}
						if lease != nil {
							mu.Lock()
							defer mu.Unlock()
							owners = append(owners, terms.Owner)
						}
					})
				}
				group.Wait()
				require.Len(t, owners, 1)
				require.False(t, w.settle(w.store, owners[0]))
			}
		})
	}
}

func TestAServerThatTakesNoWritesLendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pool := pgtest.Pool(t, w.schema, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on" })
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: w.schema})
	require.NoError(t, err)
	_, _, err = store.Acquire(t.Context(), w.key, borrowed(idempotency.NewOwnerToken()))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorContains(t, err, "connect to the primary")
	_, err = store.Settle(t.Context(), w.key, idempotency.NewOwnerToken(), paidRecord(), time.Hour)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorIs(t, store.Free(t.Context(), w.key, idempotency.NewOwnerToken()), idempotency.ErrStoreUnavailable)
	require.ErrorIs(t, store.Extend(t.Context(), w.key, idempotency.NewOwnerToken(), time.Hour), idempotency.ErrStoreUnavailable)
}

func TestTheCompleterDoesNotSeeLentKeys(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		t.Run(string(lock), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, by(lock))
			w.borrow(w.store, idempotency.NewOwnerToken())
			_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 hour'`)
			require.NoError(t, err)
			found, err := w.store.Pending(t.Context(), idempotency.Due{Limit: 10, MaxCompletions: 1})
			require.NoError(t, err)
			require.Equal(t, idempotency.PendingKeys{}, found)
			found, err = w.store.Pending(t.Context(), idempotency.Due{Limit: 10, MaxCompletions: 0})
			require.NoError(t, err)
			require.Zero(t, found.Stuck)
			attempt, _, err := w.store.Claim(t.Context(), idempotency.Key{Scope: w.key.Scope, Value: "another"})
			require.NoError(t, err)
			n, err := attempt.(idempotency.PendingCounter).CountPending(t.Context(), 10)
			require.NoError(t, err)
			require.Zero(t, n)
			require.NoError(t, attempt.Release(t.Context()))
		})
	}
}

func TestAReaperLeavesALoanWhoseLeaseLasts(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		t.Run(string(lock), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, by(lock))
			w.borrow(w.store, idempotency.NewOwnerToken())
			_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = now() + interval '1 hour', expires_at = now() - interval '1 second'`)
			require.NoError(t, err)
			reaped, err := w.store.Reap(t.Context(), 10)
			require.NoError(t, err)
			require.Zero(t, reaped.Deleted)
			_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 second'`)
			require.NoError(t, err)
			reaped, err = w.store.Reap(t.Context(), 10)
			require.NoError(t, err)
			require.Equal(t, 1, reaped.Deleted)
		})
	}
}

func TestALoanThatIsDamagedIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, damage := range []string{`fingerprint = 'short'`, `owner = 'short'`, `attempt = 0`, `attempt = -3`, `attempt = 2147483647`, `leased_until = NULL`} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.borrow(w.store, idempotency.NewOwnerToken())
			_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 second'; UPDATE idempotency_keys SET `+damage)
			require.NoError(t, err)
			_, _, err = w.store.Acquire(t.Context(), w.key, borrowed(idempotency.NewOwnerToken()))
			require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
			unknown := borrowed(idempotency.NewOwnerToken())
			unknown.Fingerprint = idempotency.Fingerprint{}
			_, _, err = w.store.Acquire(t.Context(), w.key, unknown)
			require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
		})
	}
}
