package wireproxy

import (
	"slices"
	"sync"
)

// maxRecorded bounds how many statements are kept, so that a benchmark's do not fill the memory.
const maxRecorded = 10_000

// record is what was seen, of all connections. The fields of connections that it counts by are guarded by its mu.
type record struct {
	mu         sync.Mutex
	trips      int
	number     int
	statements []Statement
	inUse      int
	peak       int
	orphans    map[uint32]bool // backends whose clients cannot reach them any more
}

// talk is how far a connection's client and server are in their conversation.
type talk struct {
	ready       bool // the session's start is over
	trips       int
	underway    bool // the client has sent something, and has not been answered
	outstanding int  // ReadyForQuery messages that the server owes
	flushed     bool // the client asked by Flush, not by Sync, for what is there
	transaction bool
	inUse       bool
	backend     uint32
}

// RoundTrips counts how often a client sent something and then waited for the answer, on all connections since [Listen] or
// [Proxy.Forget]. Whatever is pipelined up to a Sync is one round trip; so are several Syncs, if the client sent
// them in one go, and a COPY with its data, for which pgx does not wait. Making and ending a connection does not count.
func (p *Proxy) RoundTrips() int {
	p.record.mu.Lock()
	defer p.record.mu.Unlock()
	return p.record.trips
}

// Statements returns the statements since [Listen] or [Proxy.Forget], in the order in which they came; the first 10,000.
func (p *Proxy) Statements() []Statement {
	p.record.mu.Lock()
	defer p.record.mu.Unlock()
	return slices.Clone(p.record.statements)
}

// Executed is [Proxy.Statements] without what was only prepared.
func (p *Proxy) Executed() []Statement {
	return slices.DeleteFunc(p.Statements(), func(s Statement) bool { return s.Prepare })
}

// InUse returns how many connections are in a transaction or wait for an answer, and the most that were at once since
// [Listen] or [Proxy.Forget].
func (p *Proxy) InUse() (now, peak int) {
	p.record.mu.Lock()
	defer p.record.mu.Unlock()
	return p.record.inUse, p.record.peak
}

// Forget sets the counts and the list of statements back to nothing.
func (p *Proxy) Forget() {
	r := &p.record
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trips, r.number, r.statements, r.peak = 0, 0, nil, r.inUse
}

// asked notes a message of the client's, and returns the statement that it executes, if it does.
func (r *record) asked(c *connection, m message) (statement Statement, executes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &c.talk
	if !t.ready || m.kind == 'X' {
		return Statement{}, false
	}
	if !t.underway {
		t.underway = true
		t.trips++
		r.trips++
	}
	switch m.kind {
	case 'S', 'Q', 'F':
		t.outstanding++
		t.flushed = false
	case 'H':
		t.flushed = true
	}
	r.use(c)
	said := c.names.look(m)
	statement = Statement{Connection: c.number, Trip: t.trips, Backend: t.backend, Prepare: true}
	for _, statement.SQL = range said.prepared {
		r.keep(statement)
	}
	if !said.executes {
		return Statement{}, false
	}
	r.number++
	statement.Number, statement.SQL, statement.Prepare = r.number, said.sql, false
	r.keep(statement)
	return statement, true
}

func (r *record) keep(s Statement) {
	if len(r.statements) < maxRecorded {
		r.statements = append(r.statements, s)
	}
}

// answered notes a message of the server's, before the client gets it. settled says that nothing is owed any more.
func (r *record) answered(c *connection, m message) (settled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &c.talk
	switch m.kind {
	case 'Z':
		t.transaction = len(m.body) > 0 && m.body[0] != 'I'
		t.ready = true
		t.outstanding = max(0, t.outstanding-1)
		t.underway = t.outstanding > 0
		settled = !t.underway
	case 'K':
		if len(m.body) >= 4 {
			t.backend = uint32(m.body[0])<<24 | uint32(m.body[1])<<16 | uint32(m.body[2])<<8 | uint32(m.body[3])
		}
	default:
		if t.flushed && t.outstanding == 0 {
			t.underway = false
		}
	}
	r.use(c)
	return settled
}

// use counts the connection among those in use, or not. The caller holds mu.
func (r *record) use(c *connection) {
	now := c.talk.underway || c.talk.transaction
	if now == c.talk.inUse {
		return
	}
	c.talk.inUse = now
	if !now {
		r.inUse--
		return
	}
	r.inUse++
	r.peak = max(r.peak, r.inUse)
}

func (r *record) orphan(backend uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.orphans == nil {
		r.orphans = map[uint32]bool{}
	}
	r.orphans[backend] = true
}

func (r *record) isOrphan(backend uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orphans[backend]
}

// gone takes a connection that has ended out of the count.
func (r *record) gone(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.talk.underway, c.talk.transaction = false, false
	r.use(c)
}
