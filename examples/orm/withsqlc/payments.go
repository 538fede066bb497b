// Package withsqlc writes payments by sqlc. db.go, models.go and query.sql.go are written by hand in the shape in which sqlc
// generates them for database/sql (sql_package: database/sql); this file is what an application adds.
package withsqlc

import (
	"context"

	"github.com/onlyonce/onlyonce/sqlstore"
)

// Pay writes a payment in the handler's transaction.
func Pay(ctx context.Context, account string, cents int64) (id int64, err error) {
	payment, err := New(sqlstore.Tx(ctx)).CreatePayment(ctx, CreatePaymentParams{Account: account, Cents: cents})
	return payment.ID, err
}
