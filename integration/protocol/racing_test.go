package protocol

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

const (
	racers    = 8
	racedKeys = 200
)

// payOnce pays for key through the functions, and asks again until it is paid.
func payOnce(ctx context.Context, conn *pgx.Conn, key string, print []byte) error {
	for {
		var outcome string
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, `SELECT 1`); err != nil { // so that a snapshot of the whole transaction's is often older than the lock
			return err
		}
		if err = tx.QueryRow(ctx, `SELECT outcome FROM idempotency_begin('alice', $1, $2)`, key, print).Scan(&outcome); err == nil && outcome == "execute" {
			if _, err = tx.Exec(ctx, `INSERT INTO effects VALUES ($1)`, key); err == nil {
				_, err = tx.Exec(ctx, `SELECT idempotency_complete('alice', $1, $2, 201, NULL, 'paid')`, key, print)
			}
			if err == nil {
				err = tx.Commit(ctx)
			}
		}
		_ = tx.Rollback(ctx)
		switch state := (*pgconn.PgError)(nil); {
		case errors.As(err, &state) && (state.Code == duplicate || state.Code == "40001"):
		case err != nil:
			return err
		case outcome != "in_progress":
			return nil
		}
	}
}

func TestOfGoAndTheFunctionsOnePaysForEachKey(t *testing.T) {
	t.Parallel()
	for i, name := range namespaces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, i == 0)
			w.race("")
		})
	}
}

// Where the snapshot may be older than the lock it is the primary key that decides.
func TestOfManyOnePaysForEachKeyUnderEveryIsolationLevel(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			newWorld(t).race(level)
		})
	}
}

// race has racers pay for the same keys, half of them through the functions.
func (w *world) race(level string) {
	w.t.Helper()
	group, ctx := errgroup.WithContext(w.t.Context())
	for n := range racers {
		if n%2 == 0 {
			config := w.pool.Config().ConnConfig.Copy()
			if level != "" {
				config.RuntimeParams["default_transaction_isolation"] = level
			}
			conn, err := pgx.ConnectConfig(ctx, config)
			require.NoError(w.t, err)
			defer conn.Close(context.Background())
			group.Go(func() error {
				for k := range racedKeys {
					if err := payOnce(ctx, conn, fmt.Sprint(w.schema, k), w.print[:]); err != nil {
						return err
					}
				}
				return nil
			})
			continue
		}
		store, err := pgstore.NewWithConfig(pgtest.Pool(w.t, w.schema), w.config())
		require.NoError(w.t, err)
		engine, err := idempotency.New(store, idempotency.Config{}) // as another process has it
		require.NoError(w.t, err)
		group.Go(func() error {
			for k := 0; k < racedKeys; {
				key := fmt.Sprint(w.schema, k)
				_, err := engine.Run(ctx, idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: key}, Fingerprint: w.print},
					func(ctx context.Context) (idempotency.Response, error) {
						_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ($1)`, key)
						return idempotency.Response{Status: 201, Header: []byte{}, Body: []byte("paid")}, err
					})
				switch {
				case err == nil:
					k++
				case !errors.Is(err, idempotency.ErrInProgress) && !errors.Is(err, idempotency.ErrTransactionConflict):
					return err
				}
			}
			return nil
		})
	}
	require.NoError(w.t, group.Wait())
	w.wantEffects(racedKeys)
	require.Equal(w.t, racedKeys, w.count(`SELECT count(DISTINCT name) FROM effects`))
	require.Equal(w.t, racedKeys, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'completed' AND body = 'paid'`))
}

func TestASnapshotThatIsOlderThanTheLockDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tx := w.tx(level)
			require.Equal(t, 0, w.countIn(tx, `SELECT count(*) FROM effects`)) // which takes the snapshot
			_, err := w.run(pays(everyByte()))
			require.NoError(t, err)
			w.wantBegun(tx)
			w.pay(tx)
			var server *pgconn.PgError
			err = w.tryComplete(tx, everyByte())
			require.ErrorAs(t, err, &server)
			require.Contains(t, []string{duplicate, "40001"}, server.Code)
			w.rollback(tx)
			w.wantEffects(1)
			w.wantReplay(everyByte())
		})
	}
}

// The read has a snapshot of its own, younger than the lock: what was committed after the caller's statement had begun is seen.
func TestTheReadIsYoungerThanTheStatementThatItIsIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gate := w.tx()
	_, err := gate.Exec(t.Context(), `SELECT pg_advisory_xact_lock(hashtext($1))`, w.schema)
	require.NoError(t, err)
	outcome := make(chan string, 1)
	go func() {
		var said string
		err := w.pool.QueryRow(t.Context(), `SELECT outcome FROM idempotency_begin($1, $2 || pg_advisory_xact_lock(hashtext($2))::text, $3)`,
			w.key.Scope, w.key.Value, w.print[:]).Scan(&said)
		assert.NoError(t, err)
		outcome <- said
	}()
	require.Eventually(t, func() bool {
		return w.count(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = hashtext($1)::oid`, w.schema) == 1
	}, soon, 5*time.Millisecond)
	w.completes(everyByte())
	w.rollback(gate)
	require.Equal(t, "replay", <-outcome)
}

func TestACrashBetweenAnyTwoStatementsLeavesTheKeyFreeAndNothingHalfDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	places := []string{"behind begin", "behind the payment", "behind complete"}
	const rounds = 5
	for round := range rounds {
		for at, place := range places {
			w.key.Value = fmt.Sprint(w.schema, " ", place, " ", round)
			tx := w.tx()
			w.wantBegun(tx)
			if at > 0 {
				w.pay(tx)
			}
			if at > 1 {
				require.NoError(t, w.tryComplete(tx, everyByte()))
			}
			w.kill(tx)
			if round%2 == 0 {
				w.completes(everyByte())
			} else {
				_, err := w.run(pays(everyByte()))
				require.NoError(t, err)
			}
		}
	}
	w.wantEffects(rounds * len(places))
	require.Equal(t, rounds*len(places), w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'completed'`))
}

// kill ends the backend of tx, and waits until it is gone.
func (w *world) kill(tx pgx.Tx) {
	w.t.Helper()
	pid := tx.Conn().PgConn().PID()
	w.exec(`SELECT pg_terminate_backend($1)`, pid)
	require.Error(w.t, tx.Commit(w.t.Context()))
	require.Eventually(w.t, func() bool { return w.count(`SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, pid) == 0 }, soon, 5*time.Millisecond)
}
