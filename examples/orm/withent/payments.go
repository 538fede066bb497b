// Package withent writes payments by ent: by its SQL builder and its driver, which is what generated clients are made of. A generated
// client takes the driver of this package: ent.NewClient(ent.Driver(withent.Driver(ctx))).
package withent

import (
	"context"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/onlyonce/onlyonce/sqlstore"
)

// Driver is ent's on the handler's transaction.
func Driver(ctx context.Context) dialect.Driver {
	return driver{entsql.NewDriver(dialect.Postgres, entsql.Conn{ExecQuerier: sqlstore.Tx(ctx)})}
}

// driver begins no transaction of its own where ent needs one, since it is in one.
type driver struct{ *entsql.Driver }

func (d driver) Tx(context.Context) (dialect.Tx, error) { return dialect.NopTx(d), nil }

// Close leaves the transaction to the library.
func (driver) Close() error { return nil }

// Pay writes a payment in the handler's transaction.
func Pay(ctx context.Context, account string, cents int64) (id int64, err error) {
	query, args := entsql.Dialect(dialect.Postgres).Insert("payments").Columns("account", "cents").Values(account, cents).Returning("id").Query()
	var rows entsql.Rows
	if err := Driver(ctx).Query(ctx, query, args, &rows); err != nil {
		return 0, err
	}
	defer rows.Close()
	return entsql.ScanInt64(rows)
}
