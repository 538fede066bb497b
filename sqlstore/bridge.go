package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"
)

// The handler gets a *sql.Tx, which is a concrete type: what takes one (sqlx, sqlc, GORM, Bun, ent) takes nothing in its place. So
// it is a real one, of a database whose driver is this file: its connections lead to the transaction of an attempt, by the
// attempt's own driver, and begin, commit and roll back nothing.

// handlers is the database of all transactions that handlers have. It keeps no connection.
var handlers = sync.OnceValue(func() *sql.DB {
	db := sql.OpenDB(connector{})
	db.SetMaxIdleConns(-1)
	return db
})

type connector struct{}

type connectionKey struct{}

// Connect returns the connection that ctx has.
func (connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c, nil
	}
	return nil, ErrNoTx
}

func (connector) Driver() driver.Driver { return noDriver{} }

type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error) { return nil, ErrNoTx }

// connection is a handler's: the attempt's behind the guard, or none.
type connection struct {
	guard *guard
	why   error       // instead of a guard: why there is no transaction
	over  atomic.Bool // the handler has called Commit or Rollback, after which database/sql lets nothing through
}

var (
	_ driver.ConnBeginTx        = (*connection)(nil)
	_ driver.ConnPrepareContext = (*connection)(nil)
	_ driver.ExecerContext      = (*connection)(nil)
	_ driver.QueryerContext     = (*connection)(nil)
	_ driver.NamedValueChecker  = (*connection)(nil)
)

// begin returns the transaction that the handler gets.
func (c *connection) begin() *sql.Tx {
	// Not the handler's context: its end would end this transaction, and with it the handler's right to ask for another one.
	tx, err := handlers().BeginTx(context.WithValue(context.Background(), connectionKey{}, c), nil)
	if err != nil {
		panic(err) // neither Connect nor BeginTx fails
	}
	return tx
}

func (c *connection) do(f func(driverConn any) error) error {
	if c.why != nil {
		return c.why
	}
	return c.guard.do(f)
}

func (c *connection) Close() error              { return nil }
func (c *connection) Begin() (driver.Tx, error) { return guarded{c}, nil }
func (c *connection) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	return guarded{c}, nil
}

// guarded is a transaction that its handler cannot end.
type guarded struct{ connection *connection }

func (g guarded) Commit() error {
	g.connection.over.Store(true)
	return ErrTxGuarded
}

func (g guarded) Rollback() error { return g.Commit() }

// CheckNamedValue leaves a value to the driver whose statement it is for.
func (c *connection) CheckNamedValue(value *driver.NamedValue) error {
	return c.do(func(driverConn any) error { return checkedBy(driverConn, value) })
}

func checkedBy(by any, value *driver.NamedValue) error {
	if checker, ok := by.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

func (c *connection) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	err = c.do(func(driverConn any) (err error) {
		execer, ok := driverConn.(driver.ExecerContext)
		if !ok {
			return driver.ErrSkip // then it is prepared
		}
		c.guard.reads(query)
		ctx, cancel := c.guard.until(ctx)
		defer cancel()
		result, err = execer.ExecContext(ctx, query, args)
		return err
	})
	return result, err
}

func (c *connection) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Rows, err error) {
	err = c.do(func(driverConn any) error {
		queryer, ok := driverConn.(driver.QueryerContext)
		if !ok {
			return driver.ErrSkip
		}
		c.guard.reads(query)
		ctx, cancel := c.guard.until(ctx)
		found, err := queryer.QueryContext(ctx, query, args)
		if err != nil {
			cancel()
			return err
		}
		result = c.guard.opened(found, cancel)
		return nil
	})
	return result, err
}

func (c *connection) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *connection) PrepareContext(ctx context.Context, query string) (prepared driver.Stmt, err error) {
	err = c.do(func(driverConn any) error {
		c.guard.reads(query)
		ctx, cancel := c.guard.until(ctx)
		defer cancel()
		var stmt driver.Stmt
		var err error
		switch preparer := driverConn.(type) {
		case driver.ConnPrepareContext:
			stmt, err = preparer.PrepareContext(ctx, query)
		case driver.Conn:
			stmt, err = preparer.Prepare(query)
		default:
			err = errors.New("sqlstore: the driver's connection is none: pass a *sql.DB whose driver is a PostgreSQL driver")
		}
		if err != nil {
			return err
		}
		prepared = c.guard.prepared(stmt)
		return nil
	})
	return prepared, err
}
