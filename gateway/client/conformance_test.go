package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/client"
	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/memstore"
)

const secret = "a-token-of-the-tests"

// serve starts a service on leaser, over TLS and HTTP/2.
func serve(t *testing.T, leaser idempotency.Leaser, wrap ...func(http.Handler) http.Handler) *httptest.Server {
	t.Helper()
	handler, err := service.New(leaser, service.Config{Callers: []service.Caller{{Token: secret}}})
	require.NoError(t, err)
	for _, w := range wrap {
		handler = w(handler)
	}
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func dial(t *testing.T, server *httptest.Server, change ...func(*client.Config)) *client.Client {
	t.Helper()
	config := client.Config{Token: secret, TLS: server.Client().Transport.(*http.Transport).TLSClientConfig}
	for _, c := range change {
		c(&config)
	}
	c, err := client.New(server.URL, config)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// witness remembers who owns a key, so that the suite can end its lease.
type witness struct {
	idempotency.Leaser
	mu     sync.Mutex
	owners map[idempotency.Key]idempotency.OwnerToken
	ahead  time.Duration // of the clock
}

func (w *witness) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

// forward has time pass.
func (w *witness) forward(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

func (w *witness) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	lease, record, err := w.Leaser.Acquire(ctx, key, terms)
	if lease != nil {
		w.mu.Lock()
		w.owners[key] = terms.Owner
		w.mu.Unlock()
	}
	return lease, record, err
}

func (w *witness) owner(key idempotency.Key) idempotency.OwnerToken {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owners[key]
}

func (w *witness) endLease(ctx context.Context, key idempotency.Key) error {
	err := w.Extend(ctx, key, w.owner(key), time.Millisecond)
	w.forward(2 * time.Millisecond)
	return err
}

// expire ends a record's retention, or shortens the memory of a loan to nothing.
func (w *witness) expire(ctx context.Context, key idempotency.Key) error {
	record, err := w.Lookup(ctx, key)
	if err != nil {
		return err
	}
	if record != nil {
		w.forward(2 * time.Hour)
		return nil
	}
	_, _, err = w.Leaser.Acquire(ctx, key, idempotency.Terms{Owner: w.owner(key), Lease: time.Millisecond, Remember: time.Millisecond})
	w.forward(3 * time.Millisecond)
	return err
}

func TestAClientOfAServiceInMemoryLendsKeys(t *testing.T) {
	t.Parallel()
	storetest.RunLeases(t, func(t *testing.T) storetest.Subject {
		w := &witness{owners: map[idempotency.Key]idempotency.OwnerToken{}}
		store, err := memstore.New(memstore.Config{Now: w.now})
		require.NoError(t, err)
		w.Leaser = store
		server := serve(t, w)
		return storetest.Subject{
			Store: lends{dial(t, server), w}, Peer: lends{dial(t, server), w}, Expire: w.expire, EndLease: w.endLease,
			ComparesExactly: true, LeasesOnly: true,
		}
	})
}

// lends is a client beside the process of the service, which reaps.
type lends struct {
	*client.Client
	service idempotency.Store
}

func (l lends) Reap(ctx context.Context, limit int) (idempotency.Reaped, error) {
	return l.service.Reap(ctx, limit)
}
