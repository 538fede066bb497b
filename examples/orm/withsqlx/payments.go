// Package withsqlx writes payments by sqlx.
package withsqlx

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/onlyonce/onlyonce/sqlstore"
)

// Payment is a row.
type Payment struct {
	ID      int64  `db:"id"`
	Account string `db:"account"`
	Cents   int64  `db:"cents"`
}

// mapper is sqlx's own, by the tag db.
var mapper = sqlx.NewDb(nil, "").Mapper

// Pay writes a payment in the handler's transaction.
func Pay(ctx context.Context, account string, cents int64) (id int64, err error) {
	tx := &sqlx.Tx{Tx: sqlstore.Tx(ctx), Mapper: mapper}
	// Such a Tx does not know its driver, so named arguments are bound here and not by NamedExec.
	query, args, err := sqlx.BindNamed(sqlx.DOLLAR, `INSERT INTO payments (account, cents) VALUES (:account, :cents) RETURNING *`, Payment{Account: account, Cents: cents})
	if err != nil {
		return 0, err
	}
	var payment Payment
	err = tx.GetContext(ctx, &payment, query, args...)
	return payment.ID, err
}
