package sqlstore

import (
	"context"
	"database/sql/driver"
)

// statement is one that the handler has prepared.
type statement struct {
	driver.Stmt
	guard *guard
}

var (
	_ driver.StmtExecContext   = (*statement)(nil)
	_ driver.StmtQueryContext  = (*statement)(nil)
	_ driver.NamedValueChecker = (*statement)(nil)
)

func (g *guard) prepared(stmt driver.Stmt) *statement {
	s := &statement{stmt, g}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.statements[s] = struct{}{}
	return s
}

// Close closes the statement, unless the store has done so.
func (s *statement) Close() error {
	return closeOf(s.guard, s.guard.statements, s, s.Stmt.Close)
}

// CheckNamedValue asks the statement, and where it has no word the connection, as database/sql does.
func (s *statement) CheckNamedValue(value *driver.NamedValue) error {
	return s.guard.do(func(driverConn any) error {
		if _, ok := s.Stmt.(driver.NamedValueChecker); ok {
			return checkedBy(s.Stmt, value)
		}
		return checkedBy(driverConn, value)
	})
}

func (s *statement) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	err = s.guard.do(func(any) (err error) {
		ctx, cancel := s.guard.until(ctx)
		defer cancel()
		if stmt, ok := s.Stmt.(driver.StmtExecContext); ok {
			result, err = stmt.ExecContext(ctx, args)
		} else {
			//lint:ignore SA1019 a driver may have no other
			result, err = s.Stmt.Exec(values(args))
		}
		return err
	})
	return result, err
}

func (s *statement) QueryContext(ctx context.Context, args []driver.NamedValue) (result driver.Rows, err error) {
	err = s.guard.do(func(any) (err error) {
		ctx, cancel := s.guard.until(ctx)
		var found driver.Rows
		if stmt, ok := s.Stmt.(driver.StmtQueryContext); ok {
			found, err = stmt.QueryContext(ctx, args)
		} else {
			//lint:ignore SA1019 a driver may have no other
			found, err = s.Stmt.Query(values(args))
		}
		if err != nil {
			cancel()
			return err
		}
		result = s.guard.opened(found, cancel)
		return nil
	})
	return result, err
}

func values(named []driver.NamedValue) []driver.Value {
	plain := make([]driver.Value, len(named))
	for i, n := range named {
		plain[i] = n.Value
	}
	return plain
}
