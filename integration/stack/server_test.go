package stack

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// server is where requests go: a process of its own, or a part of this one with its own engine and pool.
type server struct {
	url    string
	events *events
	// The rest is nil for a process.
	pool *pgxpool.Pool
	left chan struct{} // closed when the first client leaves before it was answered
}

// startServer runs a server inside this process.
func startServer(t *testing.T, with settings, outer ...func(http.Handler) http.Handler) *server {
	t.Helper()
	pool, err := with.pool(context.Background())
	require.NoError(t, err)
	s := &server{events: newEvents(), pool: pool, left: make(chan struct{})}
	engine, err := with.engine(pool, s.events.observe)
	require.NoError(t, err)
	handler, err := with.routes(engine)
	require.NoError(t, err)
	for _, wrap := range outer {
		handler = wrap(handler)
	}
	listening := httptest.NewServer(s.watch(handler))
	s.url = listening.URL
	t.Cleanup(func() {
		listening.Close()
		closed := make(chan struct{})
		go func() {
			pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(patience):
			t.Errorf("%d connections never came back to the server's pool", pool.Stat().AcquiredConns())
		}
	})
	return s
}

// watch tells when a client is gone before the handler is done.
func (s *server) watch(next http.Handler) http.Handler {
	var first sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer context.AfterFunc(r.Context(), func() { first.Do(func() { close(s.left) }) })()
		next.ServeHTTP(w, r)
	})
}

// patience bounds everything that a test waits for. Nothing takes as long.
const patience = 60 * time.Second

// deadline is a context that bounds one wait.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// await fails the test if nothing happens.
func await(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}
