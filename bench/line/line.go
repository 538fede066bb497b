// Package line is a long line: connections to a server on which every answer takes a round-trip time longer.
package line

import (
	"net"
	"sync"
	"time"
)

// Line passes connections on to one server. All that it delays waits in one queue for one clock, since what is delayed by the
// same time is due in the order in which it came: that costs the machine little, however many connections there are.
type Line struct {
	listener net.Listener
	upstream string
	delay    time.Duration
	queue    chan parcel
	running  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
}

// parcel is what goes on together; without bytes it is the end of the server's half.
type parcel struct {
	to    net.Conn
	bytes []byte
	due   time.Time
}

// Open listens on loopback for upstream, an address, and delays its answers. Close ends it.
func Open(upstream string, delay time.Duration) (*Line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Line{listener: listener, upstream: upstream, delay: delay, queue: make(chan parcel, 4096), open: map[net.Conn]struct{}{}}
	l.running.Go(l.accept)
	go l.deliver()
	return l, nil
}

// Addr is where to connect to.
func (l *Line) Addr() string { return l.listener.Addr().String() }

// Close breaks all connections. It is called once.
func (l *Line) Close() {
	l.mu.Lock()
	l.closed = true
	_ = l.listener.Close()
	for conn := range l.open {
		_ = conn.Close()
	}
	l.mu.Unlock()
	l.running.Wait()
	close(l.queue)
}

func (l *Line) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout("tcp", l.upstream, 10*time.Second)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !l.keep(client, server) {
			return
		}
		l.running.Go(func() { l.requests(client, server) })
		l.running.Go(func() { l.answers(client, server) })
	}
}

func (l *Line) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		if l.closed {
			_ = conn.Close()
		}
		l.open[conn] = struct{}{}
	}
	return !l.closed
}

// requests passes on at once: the whole round trip is in the answers.
func (l *Line) requests(client, server net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if n > 0 {
			if _, err := server.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = server.Close() // the client is gone
}

func (l *Line) answers(client, server net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if n > 0 {
			l.queue <- parcel{to: client, bytes: append([]byte(nil), buffer[:n]...), due: time.Now().Add(l.delay)}
		}
		if err != nil {
			break
		}
	}
	l.queue <- parcel{to: client, due: time.Now().Add(l.delay)}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, client)
	delete(l.open, server)
}

func (l *Line) deliver() {
	punctual()
	for p := range l.queue {
		wait(p.due)
		if p.bytes == nil {
			_ = p.to.Close()
			continue
		}
		_, _ = p.to.Write(p.bytes)
	}
}
