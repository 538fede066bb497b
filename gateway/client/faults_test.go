package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/client"
	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

var key = idempotency.Key{Scope: "acme", Value: "k1"}

func terms() idempotency.Terms {
	return idempotency.Terms{Owner: idempotency.NewOwnerToken(), Lease: time.Minute}
}

func newStore(t *testing.T) *memstore.Store {
	t.Helper()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	return store
}

// losing does requests, and loses the replies to the next ones, of this path.
type losing struct {
	path  string
	lose  atomic.Int32
	lost  atomic.Int32
	first bool // before the request is done
}

func (l *losing) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != l.path || l.lose.Add(-1) < 0 {
			next.ServeHTTP(w, r)
			return
		}
		l.lost.Add(1)
		if !l.first {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				r.Body = io.NopCloser(bytes.NewReader(body))
				next.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
		panic(http.ErrAbortHandler)
	})
}

func TestACallWhoseReplyIsLostIsSentAgainAndIsTheSameCall(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		for _, path := range []string{"/v1/claims", "/v1/completions", "/v1/releases", "/v1/extensions", "/v1/lookups"} {
			l := &losing{path: path, first: first}
			l.lose.Store(2)
			c := dial(t, serve(t, newStore(t), l.wrap))
			t1 := terms()
			lease, record, err := c.Acquire(t.Context(), key, t1)
			require.NoError(t, err)
			require.Nil(t, record)
			assert.Equal(t, 1, lease.Attempt)
			require.NoError(t, c.Extend(t.Context(), key, t1.Owner, time.Minute))
			require.NoError(t, c.Free(t.Context(), key, t1.Owner))
			t2 := terms()
			_, _, err = c.Acquire(t.Context(), key, t2)
			require.NoError(t, err)
			again, err := c.Settle(t.Context(), key, t2.Owner, &idempotency.Record{Response: idempotency.Response{Status: 201}}, time.Hour)
			require.NoError(t, err)
			assert.False(t, again, "this very call has stored it")
			record, err = c.Lookup(t.Context(), key)
			require.NoError(t, err)
			assert.Equal(t, 201, record.Response.Status)
			assert.InDelta(t, time.Hour, record.Left, float64(time.Minute))
			assert.LessOrEqual(t, record.Left, time.Hour)
			assert.EqualValues(t, 2, l.lost.Load(), "%s was to be lost", path)
		}
	}
}

func impatient(c *client.Config) { c.Timeout, c.Patience = 2*time.Second, 3*time.Second }

func TestWhatIsNeverAnsweredIsUnknownOnlyWhereItMayHaveTakenEffect(t *testing.T) {
	t.Parallel()
	l := &losing{path: "/v1/completions"}
	l.lose.Store(1 << 20)
	store := newStore(t)
	server := serve(t, store, l.wrap)
	c := dial(t, server, impatient)
	one := terms()
	_, _, err := c.Acquire(t.Context(), key, one)
	require.NoError(t, err)
	record := &idempotency.Record{Response: idempotency.Response{Status: 201}}
	_, err = c.Settle(t.Context(), key, one.Owner, record, time.Hour)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	require.NotErrorIs(t, err, idempotency.ErrStoreUnavailable, "which says that nothing has happened")
	assert.NotContains(t, err.Error(), key.Value)
	stored, err := store.Lookup(t.Context(), key)
	require.NoError(t, err)
	assert.NotNil(t, stored, "it had taken effect")

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	away, err := client.New("http://"+closed.Addr().String(), client.Config{Timeout: 50 * time.Millisecond, Patience: 100 * time.Millisecond})
	require.NoError(t, err)
	_, err = away.Settle(t.Context(), key, one.Owner, record, time.Hour)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable, "nothing has left")
	require.NotErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	_, _, err = away.Acquire(t.Context(), key, terms())
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorIs(t, away.Check(t.Context()), idempotency.ErrStoreUnavailable)
}

func TestARefusalAfterALostReplyDoesNotSayThatNothingHasHappened(t *testing.T) {
	t.Parallel()
	for code, status := range map[string]int{"store-unavailable": 503, "internal": 500, "unauthorized": 401, "request_invalid": 400, "": 404} {
		store := newStore(t)
		l := &losing{path: "/v1/completions"}
		l.lose.Store(1)
		var refused atomic.Int32
		c := dial(t, serve(t, store, func(next http.Handler) http.Handler {
			losing := l.wrap(next)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != l.path || l.lost.Load() == 0 {
					losing.ServeHTTP(w, r)
					return
				}
				refused.Add(1)
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, `{"code":%q}`, code)
			})
		}))
		one := terms()
		_, _, err := c.Acquire(t.Context(), key, one)
		require.NoError(t, err)
		_, err = c.Settle(t.Context(), key, one.Owner, &idempotency.Record{Response: idempotency.Response{Status: 201}}, time.Hour)
		assert.ErrorIs(t, err, idempotency.ErrOutcomeUnknown, code)
		assert.Positive(t, refused.Load(), code)
		stored, err := store.Lookup(t.Context(), key)
		require.NoError(t, err)
		assert.NotNil(t, stored, "it had taken effect")
	}
}

func TestATryThatNeverLeftIsNoLostReply(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	handler, err := service.New(store, service.Config{Anonymous: true})
	require.NoError(t, err)
	var refused atomic.Int32
	server := httptest.NewUnstartedServer(handler)
	server.Listener = &hesitant{Listener: server.Listener, refused: &refused}
	server.StartTLS()
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Config{TLS: server.Client().Transport.(*http.Transport).TLSClientConfig})
	require.NoError(t, err)
	require.ErrorIs(t, c.Free(t.Context(), key, idempotency.NewOwnerToken()), idempotency.ErrLeaseLost)
	assert.EqualValues(t, 1, refused.Load())
}

// hesitant closes its first connection before TLS is spoken.
type hesitant struct {
	net.Listener
	refused *atomic.Int32
}

func (h *hesitant) Accept() (net.Conn, error) {
	connection, err := h.Listener.Accept()
	if err == nil && h.refused.CompareAndSwap(0, 1) {
		_ = connection.Close()
		return h.Listener.Accept()
	}
	return connection, err
}

func TestAnAnswerFromSomethingInBetweenSaysNothing(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := serve(t, newStore(t), func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 {
				http.Error(w, "<h1>502 Bad Gateway</h1>", http.StatusBadGateway)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	lease, _, err := dial(t, server).Acquire(t.Context(), key, terms())
	require.NoError(t, err)
	assert.Equal(t, 1, lease.Attempt)
	assert.EqualValues(t, 2, asked.Load())
}

func TestAServiceThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	for _, answer := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") },
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "{}")
		},
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		func(w http.ResponseWriter, _ *http.Request) {
			http.Redirect(w, &http.Request{}, "https://elsewhere/", http.StatusTemporaryRedirect)
		},
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, `{"code":"teapot"}`)
		},
	} {
		server := httptest.NewServer(answer)
		c, err := client.New(server.URL, client.Config{})
		require.NoError(t, err)
		lease, record, err := c.Acquire(t.Context(), key, terms())
		assert.ErrorIs(t, err, idempotency.ErrInternal)
		assert.Nil(t, lease)
		assert.Nil(t, record)
		assert.Error(t, c.Free(t.Context(), key, idempotency.NewOwnerToken()))
		assert.Error(t, c.Extend(t.Context(), key, idempotency.NewOwnerToken(), time.Minute))
		_, err = c.Settle(t.Context(), key, idempotency.NewOwnerToken(), &idempotency.Record{Response: idempotency.Response{Status: 200}}, time.Hour)
		assert.Error(t, err)
		_, err = c.Lookup(t.Context(), key)
		assert.Error(t, err)
		server.Close()
	}
}

func TestAResponseThatCouldNotBeReadAgainIsNotStored(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, newStore(t)), func(c *client.Config) { c.MaxResponseBytes = 8000 })
	one := terms()
	_, _, err := c.Acquire(t.Context(), key, one)
	require.NoError(t, err)
	record := &idempotency.Record{Response: idempotency.Response{Status: 201, Body: make([]byte, 5950)}}
	_, err = c.Settle(t.Context(), key, one.Owner, record, time.Hour)
	require.ErrorIs(t, err, idempotency.ErrResponseTooLarge)
	record.Response.Body = record.Response.Body[:5000]
	_, err = c.Settle(t.Context(), key, one.Owner, record, time.Hour)
	require.NoError(t, err)
	found, err := c.Lookup(t.Context(), key)
	require.NoError(t, err)
	assert.Len(t, found.Response.Body, 5000)
}

func TestWhatTheServiceRefusesIsAnErrorOfTheLibrary(t *testing.T) {
	t.Parallel()
	server := serve(t, newStore(t))
	c := dial(t, server)
	owner := idempotency.NewOwnerToken()
	_, err := c.Settle(t.Context(), key, owner, &idempotency.Record{Response: idempotency.Response{Status: 201, Body: make([]byte, 4<<20)}}, time.Hour)
	assert.ErrorIs(t, err, idempotency.ErrResponseTooLarge)
	_, err = c.Settle(t.Context(), key, owner, &idempotency.Record{}, time.Hour)
	assert.ErrorIs(t, err, idempotency.ErrInternal, "no HTTP response")
	_, err = c.Settle(t.Context(), key, owner, &idempotency.Record{Response: idempotency.Response{Status: 201}}, 0)
	assert.Error(t, err, "a retention of nothing")
	_, _, err = c.Acquire(t.Context(), key, idempotency.Terms{Owner: owner, Lease: 100 * time.Hour})
	assert.ErrorContains(t, err, "lock_duration", "the service says what is wrong")
	_, _, err = c.Acquire(t.Context(), idempotency.Key{Scope: "acme "}, terms())
	assert.ErrorIs(t, err, idempotency.ErrKeyMissing)
	_, _, err = c.Acquire(t.Context(), idempotency.Key{Scope: "acme ", Value: "k"}, terms())
	assert.ErrorIs(t, err, idempotency.ErrScopeMissing)
	_, _, err = c.Claim(t.Context(), key)
	assert.ErrorContains(t, err, "gateway/leased")
	_, err = c.Begin(t.Context())
	assert.ErrorContains(t, err, "gateway/leased")
	reaped, err := c.Reap(t.Context(), 10)
	require.NoError(t, err)
	assert.Zero(t, reaped)

	stranger := dial(t, server, func(c *client.Config) { c.Token = "" })
	_, _, err = stranger.Acquire(t.Context(), key, terms())
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	assert.ErrorContains(t, err, "unauthorized")
	for _, config := range []client.Config{{Timeout: -1}, {Patience: -1}, {Token: "a\n"}} {
		_, err := client.New("http://host", config)
		assert.Error(t, err)
	}
}

func TestACallEndsWithItsContextAndReusesItsConnection(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	hold := make(chan struct{})
	handler, err := service.New(newStore(t), service.Config{Anonymous: true})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Idempotency-Scope") == "held" {
			<-hold
		}
		handler.ServeHTTP(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hold) })
	c, err := client.New(server.URL+"/", client.Config{})
	require.NoError(t, err)
	for range 20 {
		_, err := c.Lookup(t.Context(), key)
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, connections.Load())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Lookup(ctx, idempotency.Key{Scope: "held", Value: "k"})
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestALoanIsRememberedForAsLongAsItsTermsSay(t *testing.T) {
	t.Parallel()
	w := &witness{owners: map[idempotency.Key]idempotency.OwnerToken{}}
	store, err := memstore.New(memstore.Config{Now: w.now})
	require.NoError(t, err)
	c := dial(t, serve(t, store))
	short, long := terms(), terms()
	short.Remember = time.Second
	_, _, err = c.Acquire(t.Context(), key, short)
	require.NoError(t, err)
	_, _, err = c.Acquire(t.Context(), idempotency.Key{Scope: "acme", Value: "k2"}, long)
	require.NoError(t, err)
	w.forward(time.Minute + 2*time.Second)
	reaped, err := store.Reap(t.Context(), 10)
	require.NoError(t, err)
	assert.Equal(t, 1, reaped.Deleted)
}
