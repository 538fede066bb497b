package growth

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// accounts are many, so that payments wait for the database and not for each other.
const accounts = 10_000

const businessTables = `
CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 50);
CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account bigint NOT NULL, amount bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment bigint NOT NULL, account bigint NOT NULL, amount bigint NOT NULL)`

// pay is the payment of the other benchmarks: four statements in three round trips, between BEGIN and COMMIT, and the response.
func pay(ctx context.Context) (idempotency.Response, error) {
	tx := pgstore.Tx(ctx)
	account := 1 + rand.Int64N(accounts)
	var balance, id int64
	if err := tx.QueryRow(ctx, `UPDATE accounts SET balance = balance - 100 WHERE id = $1 RETURNING balance`, account).Scan(&balance); err != nil {
		return idempotency.Response{}, err
	}
	if err := tx.QueryRow(ctx, `INSERT INTO payments (account, amount) VALUES ($1, 100) RETURNING id`, account).Scan(&id); err != nil {
		return idempotency.Response{}, err
	}
	_, err := tx.Exec(ctx, `INSERT INTO ledger (payment, account, amount) VALUES ($1, $2, -100), ($1, 0, 100)`, id, account)
	return answer(id), err
}

func answer(id int64) idempotency.Response {
	return idempotency.Response{
		Status: 201,
		Header: fmt.Appendf(nil, "Content-Type: application/json\r\nLocation: /api/v1/payments/%d\r\n", id),
		Body:   fmt.Appendf(nil, `{"id":%d,"amount":100,"currency":"USD","status":"succeeded"}`, id),
	}
}

// fresh is a request with a key that nobody has used.
func fresh() idempotency.Request {
	return idempotency.Request{
		Key:         idempotency.Key{Scope: fmt.Sprintf("tenant-%04d", rand.IntN(tenants)), Value: uuid(rand.Uint64(), rand.Uint64())},
		Fingerprint: fingerprintOf(),
	}
}

// again is the request of the n-th stored key.
func again(n int) idempotency.Request {
	return idempotency.Request{Key: keyOf(n), Fingerprint: fingerprintOf()}
}
