package client_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/client"
)

// swallow stands in front of address. What passes on its first connection is lost without a word from the moment that silent is set, as it is when a
// host vanishes.
func swallow(t *testing.T, address string, silent *atomic.Bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	pass := func(to, from net.Conn, first bool) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if !first || !silent.Load() {
				_, _ = to.Write(buffer[:n])
			}
			if err != nil {
				_ = to.Close()
				return
			}
		}
	}
	go func() {
		for first := true; ; first = false {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", address)
			if err != nil {
				_ = near.Close()
				continue
			}
			go pass(far, near, first)
			go pass(near, far, first)
		}
	}()
	return listener.Addr().String()
}

func TestAConnectionThatIsDeadWithoutAWordIsGivenUp(t *testing.T) {
	t.Parallel()
	server := serve(t, newStore(t))
	var silent atomic.Bool
	address := swallow(t, server.Listener.Addr().String(), &silent)
	server.URL = "https://" + address
	c := dial(t, server, func(c *client.Config) { c.Timeout = time.Second })
	_, err := c.Lookup(t.Context(), key)
	require.NoError(t, err)
	silent.Store(true)
	lease, _, err := c.Acquire(t.Context(), key, terms())
	require.NoError(t, err)
	assert.Equal(t, 1, lease.Attempt)
}
