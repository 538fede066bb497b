package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// guard stands between a handler and the connection of its transaction. It keeps what is left of a handler, a goroutine
// that it did not wait for, off a connection that is somebody else's by then.
type guard struct {
	conn *session
	// thrownOut ends when a goroutine that is in the middle of a statement has to leave.
	thrownOut context.Context
	throwOut  context.CancelFunc

	over     atomic.Bool // the handler has returned
	conflict atomic.Bool // a statement failed by 40001 or 40P01
	failed   atomic.Bool // a statement failed
	mayEnd   atomic.Bool // a statement has a word in it by which transactions end
	ended    atomic.Bool // and it begins with one: see endsTransaction
	stray    atomic.Bool // a goroutine was in the middle of a statement when the handler returned
	used     atomic.Bool // the handler has asked for something
	inside   atomic.Int32
	why      error // what the handler is told once it is over, if not ErrNoTx; set before that

	mu         sync.Mutex // for what follows
	rows       map[*rows]struct{}
	statements map[*statement]struct{}
	tx         *sql.Tx // what the handler has of the transaction; nil until it asks
	behind     *connection
}

func newGuard(conn *session) *guard {
	g := &guard{conn: conn, rows: map[*rows]struct{}{}, statements: map[*statement]struct{}{}}
	g.thrownOut, g.throwOut = context.WithCancel(context.Background())
	return g
}

// closed is what the handler is told once it is over.
func (g *guard) closed() error {
	if g.why != nil {
		return g.why
	}
	return ErrNoTx
}

// enter is called before the connection is touched. It fails once the handler has returned; else leave must follow.
func (g *guard) enter() bool {
	g.inside.Add(1)
	if g.over.Load() {
		g.inside.Add(-1)
		return false
	}
	g.used.Store(true)
	return true
}

func (g *guard) leave() { g.inside.Add(-1) }

// do calls f with the driver's connection, which is f's alone meanwhile, and notes what the error means for the transaction.
func (g *guard) do(f func(driverConn any) error) error {
	if !g.enter() {
		return g.closed()
	}
	defer g.leave()
	returned := false
	defer func() {
		if !returned { // the driver, or a value's Valuer in it, panicked: who knows how far the statement got, and the handler may recover
			g.failed.Store(true)
		}
	}()
	var err error
	// f's error does not go through Raw, which would close the connection by driver.ErrBadConn: the store does, when it ends the attempt.
	raw := g.conn.conn.Raw(func(driverConn any) error { err = f(driverConn); return nil })
	returned = true
	if raw != nil {
		return raw
	}
	return g.noted(err)
}

// noted looks for serialization failures and deadlocks, since the handler may swallow such an error, or answer 500 because
// of it, and the engine has to know that running it again can help.
func (g *guard) noted(err error) error {
	switch {
	case err == nil, err == driver.ErrSkip:
		return err
	case isConflict(err):
		g.conflict.Store(true)
	}
	g.failed.Store(true)
	return err
}

// until returns ctx, ended as well when the handler's goroutines are thrown out.
func (g *guard) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(g.thrownOut, cancel)
	return ctx, func() { stop(); cancel() }
}

// reads notes what a statement may do to the transaction.
func (g *guard) reads(query string) {
	may, ends := endsTransaction(query)
	if may {
		g.mayEnd.Store(true)
	}
	if ends {
		g.ended.Store(true)
	}
}

// busy reports whether the handler is in the middle of a statement, or has rows open.
func (g *guard) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside.Load() > 0 || len(g.rows) > 0
}

// close lets nobody in any more. Who is inside still is thrown out by the end of their statement's context, which ends the transaction
// as well, and waited for, since a connection takes one caller at a time. The result says that somebody did not leave within the bound.
func (g *guard) close(bound time.Duration) (stuck bool) {
	if g.over.Swap(true) || g.inside.Load() == 0 {
		return false
	}
	g.stray.Store(true)
	g.throwOut()
	for end := time.Now().Add(bound); g.inside.Load() > 0; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			return true
		}
	}
	return false
}

// closeOf closes what is in open, unless the store has done so. It stays there until its goroutine is inside: were it taken out before, the
// handler could return in between, and the store would take a connection for free that the rows are on.
func closeOf[T comparable](g *guard, open map[T]struct{}, what T, close func() error) error {
	g.mu.Lock()
	_, is := open[what]
	g.mu.Unlock()
	if !is {
		return nil
	}
	return g.do(func(any) error {
		g.mu.Lock()
		delete(open, what)
		g.mu.Unlock()
		return close()
	})
}

// left reports whether the handler has left rows open, and closes the statements that it has left prepared. It fails if the driver
// does not come back from that. An error of the server's counts as a statement's: lib/pq sends the end of a COPY by closing it.
func (g *guard) left(ctx context.Context) (rows bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.rows) > 0 {
		return true, nil
	}
	for s := range g.statements {
		err := g.conn.bounded(ctx, func() error {
			return g.conn.conn.Raw(func(any) error { _ = g.noted(s.Stmt.Close()); return nil })
		})
		if err == errHung {
			return false, err // the others are behind it, on the same connection
		}
		if err != nil {
			g.failed.Store(true) // a panic
		}
	}
	clear(g.statements)
	return false, nil
}

// transaction returns the handler's transaction. A handler that has called Commit or Rollback, which database/sql does not
// undo, gets another one on the same connection.
func (g *guard) transaction() (tx *sql.Tx, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tx != nil && !g.behind.over.Load() {
		return g.tx, false
	}
	g.behind = &connection{guard: g}
	g.tx = g.behind.begin()
	return g.tx, true
}

var errBusy = errors.New("sqlstore: a step was begun while a statement outside of it ran: close its rows first")
