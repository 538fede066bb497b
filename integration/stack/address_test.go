package stack

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// address leads to one server at a time, as a virtual address or a load balancer does.
type address struct {
	listener net.Listener

	mu   sync.Mutex
	to   string                // "": nowhere; who comes is accepted, and hears nothing
	open map[net.Conn]net.Conn // whom it leads to whom; nil, who it leads nowhere
	// vanished: what is open stays open, and nothing gets through any more, not even the end.
	vanished chan struct{}
}

func newAddress(t *testing.T, to string) *address {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a := &address{listener: listener, to: to, open: map[net.Conn]net.Conn{}, vanished: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { a.lead(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		a.moveTo("")
		a.hangUp()
		all.Wait()
	})
	return a
}

func (a *address) String() string { return a.listener.Addr().String() }

// lead connects a client with where the address leads at this moment.
func (a *address) lead(client net.Conn) {
	a.mu.Lock()
	to, vanished := a.to, a.vanished
	if to == "" {
		a.open[client] = nil
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		_ = client.Close()
		return
	}
	a.mu.Lock()
	if a.to != to { // it has moved in the meantime
		a.mu.Unlock()
		_, _ = client.Close(), server.Close()
		return
	}
	a.open[client] = server
	a.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { pass(client, server, vanished) })
	both.Go(func() { pass(server, client, vanished) })
	both.Wait()
}

// pass hands on what comes, and the end of it.
func pass(from, to net.Conn, vanished <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-vanished:
			return
		default:
		}
		if err == nil {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			_, _ = from.Close(), to.Close()
			return
		}
	}
}

// moveTo leads elsewhere from now on, and breaks what leads to where it led before. "" leads nowhere.
func (a *address) moveTo(to string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.to = to
	for client, server := range a.open {
		if server != nil {
			_, _ = client.Close(), server.Close()
			delete(a.open, client)
		}
	}
}

// vanish is what a host does that loses its power, or a firewall that drops everything: nobody is told.
func (a *address) vanish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.to = ""
	close(a.vanished)
}

// hangUp ends the connections that lead nowhere.
func (a *address) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for client, server := range a.open {
		if server == nil {
			_ = client.Close()
			delete(a.open, client)
		}
	}
}
