package wireproxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// connection is one client's session. Four goroutines carry it: each direction has one that reads, and one that waits out
// the delay, acts at points, and writes.
type connection struct {
	proxy  *Proxy
	number int
	client net.Conn
	server net.Conn

	talk  talk  // guarded by proxy.record.mu
	names names // likewise

	// after is the point that acts on the answer, or nil.
	after      atomic.Pointer[Point]
	held       []byte // of the answer, by writeClient
	clientGone chan struct{}
	closed     chan struct{}
	closing    sync.Once
}

// batch is what goes on together.
type batch struct {
	bytes []byte
	due   time.Time
	marks []mark
}

// mark is a statement, and where in the batch it begins.
type mark struct {
	at        int
	statement Statement
}

func newConnection(p *Proxy, client, server net.Conn) *connection {
	return &connection{
		proxy:      p,
		client:     client,
		server:     server,
		names:      names{statements: map[string]string{}},
		clientGone: make(chan struct{}),
		closed:     make(chan struct{}),
	}
}

func (c *connection) run() {
	requests, answers := make(chan batch, 64), make(chan batch, 64)
	var all sync.WaitGroup
	all.Go(func() { c.readClient(requests) })
	all.Go(func() { c.writeServer(requests) })
	all.Go(func() { c.readServer(answers) })
	all.Go(func() { c.writeClient(answers) })
	all.Wait()
}

// close ends both connections.
func (c *connection) close() {
	c.closing.Do(func() {
		close(c.closed)
		_ = c.client.Close()
		_ = c.server.Close()
	})
}

// reset is close with a TCP reset.
func (c *connection) reset() {
	abrupt(c.client)
	abrupt(c.server)
	c.close()
}

func abrupt(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

func (c *connection) due() time.Time {
	if c.proxy.delay == 0 {
		return time.Time{}
	}
	return time.Now().Add(c.proxy.delay)
}

// readClient takes what the client sends, a batch for each time that it asks for an answer.
func (c *connection) readClient(requests chan<- batch) {
	defer close(requests)
	defer close(c.clientGone)
	in := inbox{from: c.client}
	var marks []mark
	for {
		bytes, err := in.next(func(at int, m message) bool {
			if statement, executes := c.proxy.record.asked(c, m); executes {
				marks = append(marks, mark{at: at, statement: statement})
			}
			switch m.kind {
			case 'P', 'B', 'D', 'E', 'C':
				return false // a Sync or a Flush follows
			}
			return true
		})
		if err != nil {
			return
		}
		select {
		case requests <- batch{bytes: bytes, due: c.due(), marks: marks}:
		case <-c.closed:
			return
		}
		marks = nil
	}
}

// writeServer passes the client's batches on, and its end.
func (c *connection) writeServer(requests <-chan batch) {
	var line pace
	for b := range requests {
		line.until(b.due)
		if !c.forward(b) {
			return
		}
	}
	if tcp, ok := c.server.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// forward sends a batch to the server, and acts at the points in it. It returns whether the connection goes on.
func (c *connection) forward(b batch) bool {
	sent := 0
	for _, m := range b.marks {
		point := c.proxy.points.take(m.statement)
		if point == nil {
			continue
		}
		if !c.send(b.bytes[sent:m.at]) {
			point.over()
			return false
		}
		sent = m.at
		if !c.act(point, b.bytes[sent:]) {
			return false
		}
	}
	return c.send(b.bytes[sent:])
}

func (c *connection) send(bytes []byte) bool {
	if _, err := c.server.Write(bytes); err != nil {
		c.close()
		return false
	}
	return true
}

// readServer takes whatever the server sends.
func (c *connection) readServer(answers chan<- batch) {
	defer close(answers)
	in := inbox{from: c.server}
	for {
		bytes, err := in.next(func(int, message) bool { return true })
		if err != nil {
			return
		}
		select {
		case answers <- batch{bytes: bytes, due: c.due()}:
		case <-c.closed:
			return
		}
	}
}

// writeClient passes the server's answers on, and its end.
func (c *connection) writeClient(answers <-chan batch) {
	defer func() {
		c.close()
		if point := c.after.Load(); point != nil {
			point.over()
		}
	}()
	var line pace
	for b := range answers {
		line.until(b.due)
		settled := c.note(b)
		if point := c.after.Load(); point != nil {
			if !c.actAfter(point, b, settled) {
				return
			}
			continue
		}
		if _, err := c.client.Write(b.bytes); err != nil {
			// The client is gone. Its end goes to the server by the other direction; what is on its way there is delivered.
			for range answers {
			}
			return
		}
	}
}

// note records an answer. It returns whether the server owes the client nothing any more.
func (c *connection) note(b batch) (settled bool) {
	for at := 0; at < len(b.bytes); {
		m, complete, err := messageAt(b.bytes, at)
		if err != nil || !complete {
			return false // cannot be: the inbox hands on whole messages
		}
		if c.proxy.record.answered(c, m) {
			settled = true
		}
		at = m.end
	}
	return settled
}
