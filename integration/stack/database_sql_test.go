package stack

import (
	"context"
	"database/sql"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// sqlDrivers are those with which servers keep keys by sqlstore.
var sqlDrivers = map[string]string{"pgx": "pgx", "libpq": "postgres"}

// sqlStore is on a database of its own, which ends with the process.
func (s settings) sqlStore() (idempotency.Store, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	query := u.Query()
	query.Set("sslmode", "disable")
	if s.IdleInTransaction != 0 { // as the README of sqlstore has it
		query.Set("idle_in_transaction_session_timeout", strconv.FormatInt(s.IdleInTransaction.Milliseconds(), 10))
	}
	u.RawQuery = query.Encode()
	db, err := sql.Open(s.Driver, u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(max(4, s.Connections))
	return sqlstore.NewWithConfig(db, sqlstore.Config{Schema: s.Schema, Timeout: s.Timeout, ReadBackTimeout: s.Timeout})
}

// payBySQL is pay on a transaction of database/sql.
func payBySQL(ctx context.Context, tx *sql.Tx, r *http.Request) (payment, error) {
	account, key := r.Header.Get("Account"), r.Header.Get("Idempotency-Key")
	made := unlike()
	made.Amount = amount
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET available = available - $1 WHERE name = $2", amount, account); err != nil {
		return payment{}, err
	}
	err := tx.QueryRowContext(ctx, "INSERT INTO payments (account, amount, key) VALUES ($1, $2, $3) RETURNING id", account, amount, key).Scan(&made.ID)
	for _, entry := range []struct {
		account string
		amount  int
	}{{account, -amount}, {"merchant", amount}} {
		if err == nil {
			_, err = tx.ExecContext(ctx, "INSERT INTO ledger (payment, account, amount, key) VALUES ($1, $2, $3, $4)", made.ID, entry.account, entry.amount, key)
		}
	}
	return made, err
}

// onDatabaseSQL runs a test with every driver.
func onDatabaseSQL(t *testing.T, run func(t *testing.T, with settings)) {
	t.Helper()
	for name, driver := range sqlDrivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, settings{Driver: driver})
		})
	}
}

func TestOnDatabaseSQLAServerKilledBetweenAnyTwoStatementsLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	onDatabaseSQL(t, func(t *testing.T, with settings) {
		w := newWorld(t)
		with.URL = w.url
		killBetweenStatements(t, w, with)
	})
}

func TestOnDatabaseSQLACrashStormDoublesNothingAndLosesNothing(t *testing.T) {
	t.Parallel()
	onDatabaseSQL(t, func(t *testing.T, with settings) { crashStorm(t, with, 5, 8) })
}

func TestOnDatabaseSQLACommitWhoseReplyIsLostIsReadBack(t *testing.T) {
	t.Parallel()
	onDatabaseSQL(t, func(t *testing.T, with settings) {
		for _, cut := range cuts {
			t.Run(cut.name, func(t *testing.T) {
				t.Parallel()
				loseTheReply(t, cut, with)
			})
		}
	})
}

func TestOnDatabaseSQLARefusalWhoseReplyIsLostIsReadBack(t *testing.T) {
	t.Parallel()
	onDatabaseSQL(t, loseTheReplyToARefusal)
}

func TestOnDatabaseSQLAStoppedOwnerIsOvertakenAndDoublesNothingWhenItWakes(t *testing.T) {
	t.Parallel()
	onDatabaseSQL(t, func(t *testing.T, with settings) {
		w := newWorld(t)
		with.URL, with.IdleInTransaction = w.url, idle
		freezeOwner(t, w, with)
	})
}
