package sqlstore

import (
	"context"
	"database/sql/driver"
	"io"
	"reflect"
)

// rows are the result of a handler's statement. They are read from the connection, so they are behind the guard like the
// transaction itself.
type rows struct {
	driver.Rows
	guard  *guard
	cancel context.CancelFunc
}

var (
	_ driver.RowsNextResultSet              = (*rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*rows)(nil)
	_ driver.RowsColumnTypeLength           = (*rows)(nil)
	_ driver.RowsColumnTypeNullable         = (*rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*rows)(nil)
)

func (g *guard) opened(found driver.Rows, cancel context.CancelFunc) *rows {
	r := &rows{found, g, cancel}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rows[r] = struct{}{}
	return r
}

// Close closes the rows, and is harmless when the handler has returned: the store has dropped the connection of rows that were left open.
func (r *rows) Close() error {
	defer r.cancel()
	return closeOf(r.guard, r.guard.rows, r, r.Rows.Close)
}

func (r *rows) Next(values []driver.Value) error {
	var end bool
	err := r.guard.do(func(any) error {
		err := r.Rows.Next(values)
		if end = err == io.EOF; end { // which is no failure
			return nil
		}
		return err
	})
	if err == nil && end {
		return io.EOF
	}
	return err
}

func (r *rows) HasNextResultSet() bool {
	next, ok := r.Rows.(driver.RowsNextResultSet)
	return ok && next.HasNextResultSet()
}

func (r *rows) NextResultSet() error {
	next, ok := r.Rows.(driver.RowsNextResultSet)
	if !ok {
		return io.EOF
	}
	var end bool
	err := r.guard.do(func(any) error {
		err := next.NextResultSet()
		if end = err == io.EOF; end {
			return nil
		}
		return err
	})
	if err == nil && end {
		return io.EOF
	}
	return err
}

// What follows is what database/sql takes for the answer of a driver that has none.

func (r *rows) ColumnTypeScanType(index int) reflect.Type {
	if rows, ok := r.Rows.(driver.RowsColumnTypeScanType); ok {
		return rows.ColumnTypeScanType(index)
	}
	return reflect.TypeFor[any]()
}

func (r *rows) ColumnTypeDatabaseTypeName(index int) string {
	if rows, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return rows.ColumnTypeDatabaseTypeName(index)
	}
	return ""
}

func (r *rows) ColumnTypeLength(index int) (int64, bool) {
	if rows, ok := r.Rows.(driver.RowsColumnTypeLength); ok {
		return rows.ColumnTypeLength(index)
	}
	return 0, false
}

func (r *rows) ColumnTypeNullable(index int) (nullable, ok bool) {
	if rows, ok := r.Rows.(driver.RowsColumnTypeNullable); ok {
		return rows.ColumnTypeNullable(index)
	}
	return false, false
}

func (r *rows) ColumnTypePrecisionScale(index int) (precision, scale int64, ok bool) {
	if rows, ok := r.Rows.(driver.RowsColumnTypePrecisionScale); ok {
		return rows.ColumnTypePrecisionScale(index)
	}
	return 0, 0, false
}
