package sqlstore

import (
	"context"
	"database/sql/driver"
	"testing"

	"github.com/stretchr/testify/require"
)

type closable struct{ closed bool }

func (c *closable) Close() error {
	c.closed = true
	return nil
}

// newConnection is one of the bridge's, which is as good as any that nothing is sent on.
func newConnection(t *testing.T) *session {
	conn, err := handlers().Conn(context.WithValue(t.Context(), connectionKey{}, &connection{}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &session{conn: conn}
}

type (
	openRows      struct{ *closable }
	openStatement struct{ *closable }
)

func (openRows) Columns() []string                               { return nil }
func (openRows) Next([]driver.Value) error                       { return nil }
func (openStatement) NumInput() int                              { return 0 }
func (openStatement) Exec([]driver.Value) (driver.Result, error) { return nil, nil }
func (openStatement) Query([]driver.Value) (driver.Rows, error)  { return nil, nil }

func TestWhatClosesTooLateIsTheStoresToClose(t *testing.T) {
	t.Parallel()
	g := newGuard(newConnection(t))
	statement := &closable{}
	prepared := g.prepared(openStatement{statement})
	result := &closable{}
	opened := g.opened(openRows{result}, func() {})
	g.close(0)
	require.ErrorIs(t, prepared.Close(), ErrNoTx)
	require.ErrorIs(t, opened.Close(), ErrNoTx)
	require.False(t, result.closed || statement.closed)
	rows, err := g.left(t.Context())
	require.NoError(t, err)
	require.True(t, rows)

	clear(g.rows)
	rows, err = g.left(t.Context())
	require.NoError(t, err)
	require.False(t, rows)
	require.True(t, statement.closed)
	require.NoError(t, prepared.Close())
}

func TestADriverThatPanicsHasFailed(t *testing.T) {
	t.Parallel()
	g := newGuard(newConnection(t))
	require.Panics(t, func() { _ = g.do(func(any) error { panic("a Valuer's") }) })
	require.True(t, g.failed.Load())
	require.Zero(t, g.inside.Load())
}
