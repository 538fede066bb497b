// Package payment is what every contender makes: a payment in one transaction, the same statements for all of them.
package payment

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// accounts are many, so that payments wait for the database and not for each other.
const accounts = 10_000

// Tables are a payment's. No constraint keeps a key from being paid twice: that is the contenders' work.
const Tables = `
CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 50);
CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, account bigint NOT NULL, amount bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment bigint NOT NULL, account bigint NOT NULL, amount bigint NOT NULL);
INSERT INTO accounts SELECT id, 1000000000000 FROM generate_series(1, 10000) id`

// The statements of a payment, each a round trip, between BEGIN and COMMIT.
const (
	debit  = `UPDATE accounts SET balance = balance - 100 WHERE id = $1 RETURNING balance`
	insert = `INSERT INTO payments (key, account, amount) VALUES ($1, $2, 100) RETURNING id`
	book   = `INSERT INTO ledger (payment, account, amount) VALUES ($1, $2, -100), ($1, 0, 100)`
)

// Answers to a payment.
const (
	Status      = 201
	ContentType = "application/json"
	Path        = "/api/v1/payments"
	// RequestBody is what a client sends.
	RequestBody = `{"amount":100,"currency":"USD"}`
)

// Statements is a transaction, or a connection in one.
type Statements interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Maker makes payments. It is safe for concurrent use.
type Maker struct {
	// Takes is how long a payment takes beside its statements, as a handler does that asks somebody else. It comes before
	// the first of them, so that no row is locked meanwhile.
	Takes time.Duration
	// Inside, if it is set, is called in every payment after its statements.
	Inside func()
	runs   atomic.Int64
}

// Runs returns how many payments were begun, those included that were rolled back.
func (m *Maker) Runs() int64 { return m.runs.Load() }

// Make makes the payment that key names, in tx, and returns its id.
func (m *Maker) Make(ctx context.Context, tx Statements, key string) (id int64, err error) {
	m.runs.Add(1)
	if m.Takes > 0 {
		time.Sleep(m.Takes)
	}
	account := 1 + mathrand.Int64N(accounts)
	var balance int64
	if err := tx.QueryRow(ctx, debit, account).Scan(&balance); err != nil {
		return 0, err
	}
	if err := tx.QueryRow(ctx, insert, key, account).Scan(&id); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, book, id, account); err != nil {
		return 0, err
	}
	if m.Inside != nil {
		m.Inside()
	}
	return id, nil
}

// Location is the response's header of that name.
func Location(id int64) string { return fmt.Sprintf("%s/%d", Path, id) }

// Body is the response's body.
func Body(id int64) []byte {
	return fmt.Appendf(nil, `{"id":%d,"amount":100,"currency":"USD","status":"succeeded"}`, id)
}
