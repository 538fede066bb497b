package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/pgstore"
)

// pay is a payment in one transaction.
func (s *service) pay(w http.ResponseWriter, r *http.Request, asked order) {
	id, err := book(r.Context(), pgstore.Tx(r.Context()), asked)
	if err != nil {
		s.fail(w, err)
		return
	}
	paid := asked.receipt()
	paid.Payment = id
	w.Header().Set("Location", fmt.Sprintf("/payments/%s", asked.Reference))
	answer(w, http.StatusCreated, paid)
}

// refuse writes all that a payment does, and then says no.
func (s *service) refuse(w http.ResponseWriter, r *http.Request, asked order) {
	if _, err := book(r.Context(), pgstore.Tx(r.Context()), asked); err != nil {
		s.fail(w, err)
		return
	}
	answer(w, http.StatusPaymentRequired, asked.receipt())
}

// book moves the money: an update, an insert, and a batch of the rest. Accounts are touched before merchants, in all transactions, so
// that none waits for another in a circle.
func book(ctx context.Context, tx pgx.Tx, asked order) (id int64, err error) {
	const move = "UPDATE accounts SET available = available + $1 WHERE name = $2"
	if _, err := tx.Exec(ctx, move, -asked.Amount, asked.Account); err != nil {
		return 0, err
	}
	err = tx.QueryRow(ctx, "INSERT INTO payments (key, attempt, nonce, account, amount) VALUES ($1, $2, $3, $4, $5) RETURNING id",
		asked.Reference, asked.attempt, asked.nonce, asked.Account, asked.Amount).Scan(&id)
	if err != nil {
		return 0, err
	}
	batch := &pgx.Batch{}
	const entry = "INSERT INTO entries (payment, key, account, amount) VALUES ($1, $2, $3, $4)"
	batch.Queue(entry, id, asked.Reference, asked.Account, -asked.Amount)
	batch.Queue(entry, id, asked.Reference, asked.Merchant, asked.Amount)
	batch.Queue(move, asked.Amount, asked.Merchant)
	return id, tx.SendBatch(ctx, batch).Close()
}
