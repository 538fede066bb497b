package pgstore

import (
	"net"
	"sync/atomic"
	"time"
)

// guard is what a handler's transaction and the savepoints inside it share. It keeps what is left of a handler, a goroutine
// that it did not wait for, off a connection that is somebody else's by then.
type guard struct {
	over         atomic.Bool // the handler has returned
	conflict     atomic.Bool // a statement failed by 40001 or 40P01
	ended        atomic.Bool // the handler ended the transaction by SQL of its own
	stray        atomic.Bool // a goroutine was in the middle of a statement when the handler returned
	largeObjects atomic.Bool // handed out, and they know the connection
	connection   atomic.Bool // handed out itself
	used         atomic.Bool // the handler has asked for something
	inside       atomic.Int32
	why          error // what the handler is told once it is over, if not ErrNoTx; set before that
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
	if !g.used.Load() {
		g.used.Store(true)
	}
	return true
}

func (g *guard) leave() { g.inside.Add(-1) }

// bypassed reports whether the handler may have used the connection past the guard, or may do so yet: what it has left prepared
// there pgx alone knows, and pgx alone keeps its goroutines out while it sends.
func (g *guard) bypassed() bool { return g.connection.Load() || g.largeObjects.Load() }

// close lets nobody in any more, and reports whether it was open. Who is inside still is thrown out by closing the socket, which
// ends the transaction as well, and waited for, since a connection takes one caller at a time. The second result says
// that somebody did not leave within the bound.
func (g *guard) close(socket func() net.Conn, bound time.Duration) (first, stuck bool) {
	if g.over.Swap(true) {
		return false, false
	}
	if g.inside.Load() == 0 {
		return true, false
	}
	g.stray.Store(true)
	_ = socket().Close()
	for end := time.Now().Add(bound); g.inside.Load() > 0; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			return true, true
		}
	}
	return true, false
}
