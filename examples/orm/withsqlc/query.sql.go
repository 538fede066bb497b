package withsqlc

import (
	"context"
)

const createPayment = `-- name: CreatePayment :one
INSERT INTO payments (account, cents) VALUES ($1, $2) RETURNING id, account, cents
`

type CreatePaymentParams struct {
	Account string
	Cents   int64
}

func (q *Queries) CreatePayment(ctx context.Context, arg CreatePaymentParams) (Payment, error) {
	row := q.db.QueryRowContext(ctx, createPayment, arg.Account, arg.Cents)
	var i Payment
	err := row.Scan(&i.ID, &i.Account, &i.Cents)
	return i, err
}
