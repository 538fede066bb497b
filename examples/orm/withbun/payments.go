// Package withbun writes payments by Bun.
package withbun

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/onlyonce/onlyonce/sqlstore"
)

// Payment is a row.
type Payment struct {
	ID      int64 `bun:",pk,autoincrement"`
	Account string
	Cents   int64
}

// Payments writes them.
type Payments struct{ db *bun.DB }

// New returns Payments on the database that the store is on.
func New(db *sql.DB) *Payments { return &Payments{bun.NewDB(db, pgdialect.New())} }

// Pay writes a payment in the handler's transaction.
func (p *Payments) Pay(ctx context.Context, account string, cents int64) (id int64, err error) {
	payment := Payment{Account: account, Cents: cents}
	_, err = p.db.NewInsert().Conn(sqlstore.Tx(ctx)).Model(&payment).Exec(ctx)
	return payment.ID, err
}
