package main_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
)

// wire is a way to PostgreSQL that can be cut.
type wire struct {
	url  string
	pool *pgxpool.Pool // which goes past it

	mu    sync.Mutex
	isCut bool
	conns map[net.Conn]bool
}

func proxy(t *testing.T) *wire {
	t.Helper()
	schema := pgtest.Schema(t)
	w := &wire{pool: pgtest.Pool(t, schema), conns: map[net.Conn]bool{}}
	to, err := url.Parse(pgtest.SchemaURL(t, schema))
	require.NoError(t, err)
	config := w.pool.Config().ConnConfig
	network, address := "tcp", net.JoinHostPort(config.Host, to.Port())
	if len(config.Host) > 0 && config.Host[0] == '/' {
		network, address = "unix", config.Host+"/.s.PGSQL."+to.Port()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = listener.Close()
		w.cut()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil || !w.keep(client, server) {
				_ = client.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
				}()
			}
		}
	}()
	query := to.Query()
	query.Set("sslmode", "disable")
	query.Del("host")
	to.RawQuery = query.Encode()
	to.Host = listener.Addr().String()
	w.url = to.String()
	return w
}

func (w *wire) keep(client, server net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		_ = server.Close()
		return false
	}
	w.conns[client], w.conns[server] = true, true
	return true
}

// cut ends all connections, and those to come.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for conn := range w.conns {
		_ = conn.Close()
	}
	clear(w.conns)
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = false
}
