// Package withgorm writes payments by GORM.
package withgorm

import (
	"context"
	"database/sql"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/onlyonce/onlyonce/sqlstore"
)

// Payment is a row.
type Payment struct {
	ID      int64
	Account string
	Cents   int64
}

// Payments writes them.
type Payments struct{ db *gorm.DB }

// New returns Payments on the database that the store is on.
func New(db *sql.DB) (*Payments, error) {
	opened, err := gorm.Open(postgres.New(postgres.Config{Conn: db}))
	return &Payments{opened}, err
}

// tx is GORM on the handler's transaction. Its own Transaction nests in it, by savepoints.
func (p *Payments) tx(ctx context.Context) *gorm.DB {
	tx := p.db.Session(&gorm.Session{NewDB: true, Context: ctx})
	tx.Statement.ConnPool = sqlstore.Tx(ctx)
	return tx
}

// Pay writes a payment in the handler's transaction.
func (p *Payments) Pay(ctx context.Context, account string, cents int64) (id int64, err error) {
	payment := Payment{Account: account, Cents: cents}
	err = p.tx(ctx).Transaction(func(nested *gorm.DB) error { return nested.Create(&payment).Error })
	return payment.ID, err
}
