package wireproxy

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Action is what happens at a [Point]. Before means that the statement never reaches the server, though what the client sent
// ahead of it in the same pipeline does; after, that the server has executed and answered everything up to the Sync, and that
// the client gets none of the answer (with StopAfter: not yet).
type Action int

const (
	// Stop holds the statement back until [Point.Resume]. If the client ends in the meantime the statement is not sent.
	Stop Action = iota + 1
	// StopAfter lets the server execute the statement and holds its answer back until [Point.Resume]. If the client ends in the
	// meantime it is the server that gets to know. The point is reached when the answer is there.
	StopAfter
	// CutBefore closes both connections before the statement.
	CutBefore
	// CutAfter closes both connections after the statement.
	CutAfter
	// ResetBefore is CutBefore by a TCP reset.
	ResetBefore
	// ResetAfter is CutAfter by a TCP reset.
	ResetAfter
	// HalfClose ends the stream towards the client before the statement, and takes from it what still comes. The server
	// notices nothing until the client closes.
	HalfClose
	// Orphan closes the client's connection and holds the statement back, as a slow line does whose sender has given up. On
	// [Point.Resume] it reaches the server all the same, with what followed it up to the Sync. A cancel request of the
	// client's, which pgx sends when its connection breaks, does not.
	Orphan
	// FailAfter lets the server execute the statement, and tells the client that the last thing it has executed failed, by XX000: a
	// distributed engine reports so of a COMMIT that has come about. The connection goes on.
	FailAfter
)

// Point is a place at which a [Proxy] acts, once.
type Point struct {
	match     func(Statement) bool
	action    Action
	statement Statement
	reached   chan struct{}
	resumed   chan struct{}
	resume    sync.Once
	done      chan struct{}
	finish    sync.Once
}

// At has the proxy act at the first statement, of any connection, for which match is true. Each call adds a point, which
// acts once; the earliest that matches a statement takes it. match is called with the proxy's own goroutines waiting.
func (p *Proxy) At(match func(Statement) bool, action Action) *Point {
	point := &Point{
		match:   match,
		action:  action,
		reached: make(chan struct{}),
		resumed: make(chan struct{}),
		done:    make(chan struct{}),
	}
	p.points.add(point)
	return point
}

// Number matches the n-th statement since [Listen] or [Proxy.Forget].
func Number(n int) func(Statement) bool {
	return func(s Statement) bool { return s.Number == n }
}

// Reached is closed when a statement has come to the point, or with StopAfter, its answer.
func (p *Point) Reached() <-chan struct{} { return p.reached }

// Done is closed when the action is over: the connection is cut, or what was stopped was let go.
func (p *Point) Done() <-chan struct{} { return p.done }

// Statement is the one that has come to the point. Call it after Reached.
func (p *Point) Statement() Statement {
	<-p.reached
	return p.statement
}

// Resume ends a Stop, a StopAfter or an Orphan. It may be called before the point is reached, and again.
func (p *Point) Resume() { p.resume.Do(func() { close(p.resumed) }) }

// over closes Done.
func (p *Point) over() { p.finish.Do(func() { close(p.done) }) }

// points are those that nobody has come to yet.
type points struct {
	some    atomic.Bool
	mu      sync.Mutex
	waiting []*Point
}

func (ps *points) add(point *Point) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.waiting = append(ps.waiting, point)
	ps.some.Store(true)
}

// take returns the point at which s has arrived, or nil.
func (ps *points) take(s Statement) *Point {
	if !ps.some.Load() {
		return nil
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	at := slices.IndexFunc(ps.waiting, func(p *Point) bool { return p.match(s) })
	if at < 0 {
		return nil
	}
	point := ps.waiting[at]
	ps.waiting = slices.Delete(ps.waiting, at, at+1)
	ps.some.Store(len(ps.waiting) > 0)
	point.statement = s
	if point.action != StopAfter {
		close(point.reached)
	}
	return point
}
