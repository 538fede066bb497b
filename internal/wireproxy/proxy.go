package wireproxy

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"
)

// Config configures a [Proxy]. The zero value passes everything on at once.
type Config struct {
	// Delay is how long a message takes in each direction: half of a round trip. What is sent within that time travels
	// together, as on a real line. On Linux it is kept to about 0.1 ms, elsewhere to the runtime's timers.
	Delay time.Duration
}

// Proxy accepts connections on loopback and passes them on to one server. It is safe for concurrent use.
type Proxy struct {
	upstream string
	delay    time.Duration
	listener net.Listener
	running  sync.WaitGroup
	points   points
	record   record

	mu          sync.Mutex
	closed      bool
	accepted    int
	connections map[*connection]struct{}
	greeting    map[net.Conn]struct{} // not yet sessions
}

// Listen starts a proxy in front of the server that databaseURL names. Close ends it.
func Listen(databaseURL string, config Config) (*Proxy, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("wireproxy: the database must be given as postgres://user@host:port/database")
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("wireproxy: listen on loopback: %w", err)
	}
	p := &Proxy{
		upstream:    net.JoinHostPort(u.Hostname(), port),
		delay:       config.Delay,
		listener:    listener,
		connections: map[*connection]struct{}{},
		greeting:    map[net.Conn]struct{}{},
	}
	p.running.Go(p.accept)
	return p, nil
}

// URL returns databaseURL with the proxy in the server's place.
func (p *Proxy) URL(databaseURL string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return "", errors.New("wireproxy: the database must be given as postgres://user@host:port/database")
	}
	u.Host = p.listener.Addr().String()
	query := u.Query()
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// Reset breaks every connection that is there now, both ways, as a firewall that lost its state does.
func (p *Proxy) Reset() {
	for _, c := range p.open() {
		c.reset()
	}
}

// Close breaks every connection, refuses new ones, and returns when nothing of the proxy runs any more. A second call does
// nothing.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	greeting := p.greeting
	p.greeting = map[net.Conn]struct{}{}
	p.mu.Unlock()
	err := p.listener.Close()
	for conn := range greeting {
		_ = conn.Close()
	}
	for _, c := range p.open() {
		c.close()
	}
	p.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *Proxy) open() []*connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := make([]*connection, 0, len(p.connections))
	for c := range p.connections {
		open = append(open, c)
	}
	return open
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve handles one client to its end.
func (p *Proxy) serve(client net.Conn) {
	if !p.watch(client) {
		return
	}
	server, err := p.dial(client)
	if err != nil {
		p.unwatch(client)
		_ = client.Close()
		return
	}
	c := newConnection(p, client, server)
	p.mu.Lock()
	delete(p.greeting, client)
	closed := p.closed
	p.accepted++
	c.number = p.accepted
	p.connections[c] = struct{}{}
	p.mu.Unlock()
	if closed {
		c.close()
	}
	c.run()
	p.record.gone(c)
	p.mu.Lock()
	delete(p.connections, c)
	p.mu.Unlock()
}

// dial greets the client and passes its start-up message on.
func (p *Proxy) dial(client net.Conn) (net.Conn, error) {
	start, err := greet(client)
	if err != nil {
		return nil, err
	}
	if p.record.isOrphan(cancels(start)) {
		return nil, errors.New("wireproxy: the line to this backend is down")
	}
	server, err := net.DialTimeout("tcp", p.upstream, 10*time.Second)
	if err != nil {
		return nil, err
	}
	if _, err := server.Write(start); err != nil {
		_ = server.Close()
		return nil, err
	}
	return server, nil
}

// watch has Close close a connection that has not become a session yet.
func (p *Proxy) watch(client net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = client.Close()
		return false
	}
	p.greeting[client] = struct{}{}
	return true
}

func (p *Proxy) unwatch(client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.greeting, client)
}
