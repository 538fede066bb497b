package redisstore_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// cutter is a proxy in front of a server, that loses what it is told to.
type cutter struct {
	target string
	listen net.Listener

	mu    sync.Mutex
	rules []*rule
	down  bool
	conns map[net.Conn]struct{}
}

// rule is about the next requests that have marker in them.
type rule struct {
	marker  []byte
	times   int
	request bool // lose the request, and not only its reply
	fired   int
}

func cut(t *testing.T, target string) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{target: target, listen: listener, conns: map[net.Conn]struct{}{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go c.serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		c.goDown(true)
	})
	return c
}

func (c *cutter) address() string { return c.listen.Addr().String() }

// loseReply loses the reply to the next so many requests with marker in them, and their connections.
func (c *cutter) loseReply(marker string, times int) *rule { return c.add(marker, times, false) }

// loseRequest loses the next so many requests with marker in them, and their connections.
func (c *cutter) loseRequest(marker string, times int) *rule { return c.add(marker, times, true) }

func (c *cutter) add(marker string, times int, request bool) *rule {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &rule{marker: []byte(marker), times: times, request: request}
	c.rules = append(c.rules, r)
	return r
}

// times returns how often a rule has fired.
func (c *cutter) times(r *rule) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.fired
}

// goDown ends all connections, and takes no new ones, until it is told otherwise.
func (c *cutter) goDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	if down {
		for conn := range c.conns {
			_ = conn.Close()
		}
	}
}

// fires returns the rule about a request.
func (c *cutter) fires(request []byte) *rule {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.rules {
		if r.fired < r.times && bytes.Contains(request, r.marker) {
			r.fired++
			return r
		}
	}
	return nil
}

func (c *cutter) enter(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		c.conns[conn] = struct{}{}
	}
	return !c.down
}

func (c *cutter) leave(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
		delete(c.conns, conn)
	}
}

func (c *cutter) serve(client net.Conn) {
	defer c.leave(client)
	if !c.enter(client) {
		return
	}
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer c.leave(server)
	if !c.enter(server) {
		return
	}
	// A request is one write of go-redis, and small, so that it comes in one piece.
	var lost atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer client.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil || lost.Load() {
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			break
		}
		if r := c.fires(buffer[:n]); r != nil {
			if r.request {
				break
			}
			lost.Store(true)
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			break
		}
		if lost.Load() {
			<-ended // once the server has answered, and so has done it
			break
		}
	}
	_ = server.Close()
	<-ended
}
