package httpcontract

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var bufferingTests = []test{
	{"not a byte leaves before the outcome is settled", notAByteLeavesBeforeTheOutcomeIsSettled},
	{"a client sees nothing while the handler runs", aClientSeesNothingWhileTheHandlerRuns},
	{"flushing and hijacking are refused", flushingAndHijackingAreRefused},
	{"a handler can move the connection's deadlines", aHandlerCanMoveTheDeadlines},
	{"a length that is wrong is put right", aLengthThatIsWrongIsPutRight},
	{"a length that an outer middleware sets is put right", aLengthFromOutsideIsPutRight},
	{"an outer middleware compresses first answers and replays", anOuterMiddlewareCompresses},
	{"a response to HEAD has no body", aResponseToHEADHasNoBody},
	{"HTTP/2 is no different", http2IsNoDifferent},
}

// touched is a writer that knows whether anything was sent.
type touched struct {
	http.ResponseWriter
	sent atomic.Bool
}

func (t *touched) WriteHeader(status int) {
	t.sent.Store(true)
	t.ResponseWriter.WriteHeader(status)
}

func (t *touched) Write(b []byte) (int, error) {
	t.sent.Store(true)
	return t.ResponseWriter.Write(b)
}

func (t *touched) Flush() { t.sent.Store(true) }

func (t *touched) ReadFrom(from io.Reader) (int64, error) {
	t.sent.Store(true)
	return io.Copy(t.ResponseWriter, from)
}

func (t *touched) Push(string, *http.PushOptions) error {
	t.sent.Store(true)
	return nil
}

// watched is a store that calls settled when an attempt has ended.
type watched struct {
	idempotency.Store
	settled func()
}

func (s watched) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	a, record, err := s.Store.Claim(ctx, key)
	if a != nil {
		a = watchedAttempt{a, s.settled}
	}
	return a, record, err
}

func (s watched) Begin(ctx context.Context) (idempotency.Attempt, error) {
	a, err := s.Store.Begin(ctx)
	return watchedAttempt{a, s.settled}, err
}

type watchedAttempt struct {
	idempotency.Attempt
	settled func()
}

func (a watchedAttempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	defer a.settled()
	return a.Attempt.Complete(ctx, record, retention)
}

func (a watchedAttempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	defer a.settled()
	return a.Attempt.Refuse(ctx, record, retention)
}

func (a watchedAttempt) Release(ctx context.Context) error {
	defer a.settled()
	return a.Attempt.Release(ctx)
}

func notAByteLeavesBeforeTheOutcomeIsSettled(w *world) {
	for _, key := range []string{"k", ""} {
		for _, status := range []int{201, 402, 500} {
			writer := &touched{ResponseWriter: httptest.NewRecorder()}
			settled := 0
			watching := *w
			watching.store = watched{w.store, func() {
				settled++
				assert.False(w, writer.sent.Load(), "%d was sent before it was settled", status)
			}}
			route := watching.route(func(writer http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(writer).Flush()
				w.pays(status)(writer, r)
				_ = http.NewResponseController(writer).Flush()
				_, _ = writer.Write(make([]byte, 100<<10))
			}, func(_ *idempotency.Config, c *Config) { c.Optional = true })
			if key != "" {
				key = w.key()
			}
			route.ServeHTTP(writer, post(key, "{}"))
			require.Equal(w, 1, settled)
			require.True(w, writer.sent.Load())
		}
	}
}

func aClientSeesNothingWhileTheHandlerRuns(w *world) {
	written, release := make(chan struct{}), make(chan struct{})
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		_, _ = io.WriteString(writer, strings.Repeat("x", 100<<10)) // more than net/http buffers
		close(written)
		<-release
	})
	var released atomic.Bool
	early := make(chan bool, 1)
	conn := w.serve(route).dial()
	conn.write([]string{"POST /payments HTTP/1.1", "Host: test", "Idempotency-Key: k", "Content-Length: 2"}, "{}")
	go func() {
		_, err := conn.in.Peek(1)
		early <- err != nil || !released.Load()
	}()
	within(w, written)
	w.hasEffects(0)
	w.hasRecords(0)
	released.Store(true)
	close(release)
	require.False(w, within(w, early), "a byte came while the handler ran")
	conn.answer().is(http.StatusOK, strings.Repeat("x", 100<<10))
	w.hasEffects(1)
}

func flushingAndHijackingAreRefused(w *world) {
	w.needs(Unwrapping)
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		_, flusher := writer.(http.Flusher)
		assert.Equal(w, w.adapter.Flusher, flusher)
		controller := http.NewResponseController(writer)
		if err := controller.Flush(); !flusher {
			assert.ErrorContains(w, err, "protected")
		}
		conn, _, err := controller.Hijack()
		assert.Nil(w, conn)
		assert.ErrorContains(w, err, "protected")
		assert.NoError(w, controller.EnableFullDuplex())
		writer.WriteHeader(http.StatusCreated)
	})
	server := w.serve(route)
	first := server.post("k", "{}")
	first.is(http.StatusCreated, "")
	server.post("k", "{}").replays(first)
	route.ran(1)
}

func aHandlerCanMoveTheDeadlines(w *world) {
	var late atomic.Bool
	late.Store(true)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		controller := http.NewResponseController(writer)
		assert.NoError(w, controller.SetReadDeadline(time.Now().Add(time.Hour)))
		if late.Swap(false) {
			assert.NoError(w, controller.SetWriteDeadline(time.Now().Add(-time.Hour)))
		}
		w.pays(http.StatusCreated)(writer, r)
	})
	server := w.serve(route)
	response, err := server.Client().Do(server.request("k", strings.NewReader("{}")))
	if err == nil {
		_ = response.Body.Close()
	}
	require.Error(w, err, "the deadline did not reach the connection")
	w.hasEffects(1)
	got := server.post("k", "{}")
	require.Equal(w, http.StatusCreated, got.status)
	require.Equal(w, "true", got.header.Get("Idempotent-Replayed"))
	route.ran(1)
}

func aLengthThatIsWrongIsPutRight(w *world) {
	for _, length := range []string{"0", "3", "99", "none"} {
		w.each(length, func(w *world) {
			route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
				writer.Header().Set("Content-Length", length)
				_, _ = io.WriteString(writer, "paid in full")
			})
			server := w.serve(route)
			key := w.key()
			first := server.post(key, "{}")
			first.is(http.StatusOK, "paid in full")
			require.Equal(w, "12", first.header.Get("Content-Length"))
			second := server.post(key, "{}")
			second.replays(first)
			require.Equal(w, "12", second.header.Get("Content-Length"))
		})
	}
}

func aLengthFromOutsideIsPutRight(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		writer.Header().Set("Content-Length", "3")
		route.ServeHTTP(writer, r)
	}))
	first := server.post("k", "{}")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	server.post("k", "{}").replays(first)
	server.post("k", "other").problem(idempotency.CodeKeyReused)
}

type compressed struct {
	http.ResponseWriter
	to *gzip.Writer
}

func (c *compressed) Write(b []byte) (int, error) { return c.to.Write(b) }

func anOuterMiddlewareCompresses(w *world) {
	body := strings.Repeat("paid ", 10_000)
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Content-Type", "text/plain")
		writer.Header().Set("Content-Length", "50000")
		_, _ = io.WriteString(writer, body)
	})
	server := w.serve(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		to := gzip.NewWriter(writer)
		defer func() { _ = to.Close() }()
		if r.Header.Get("Accept-Encoding") == "gzip" {
			writer.Header().Set("Content-Encoding", "gzip")
			route.ServeHTTP(&compressed{writer, to}, r)
			return
		}
		to.Reset(io.Discard)
		route.ServeHTTP(writer, r)
	}))
	first := server.post("k", "{}") // Go's client asks for gzip, and undoes it
	first.is(http.StatusOK, body)
	server.post("k", "{}").replays(first)
	plain := server.request("k", strings.NewReader("{}"))
	plain.Header.Set("Accept-Encoding", "identity")
	server.send(plain).replays(first)
	route.ran(1)
}

func aResponseToHEADHasNoBody(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("ETag", `"v1"`)
		_, _ = io.WriteString(writer, "paid")
	}, func(_ *idempotency.Config, c *Config) { c.Methods = []string{http.MethodHead} })
	server := w.serve(route)
	ask := func() answer {
		request := server.request("k", nil)
		request.Method = http.MethodHead
		return server.send(request)
	}
	first := ask()
	first.is(http.StatusOK, "")
	require.Equal(w, "4", first.header.Get("Content-Length"))
	second := ask()
	second.replays(first)
	require.Equal(w, "4", second.header.Get("Content-Length"))
	route.ran(1)
}

func http2IsNoDifferent(w *world) {
	w.needs(HTTP2)
	route := w.route(w.answers(http.StatusCreated))
	s := &server{world: w, Server: httptest.NewUnstartedServer(route)}
	s.EnableHTTP2 = true
	s.StartTLS()
	w.Cleanup(s.Close)
	s.client = s.Server.Client()
	s.client.Timeout = patience
	response, err := s.Client().Do(s.request("k", strings.NewReader("{}")))
	require.NoError(w, err)
	require.Equal(w, 2, response.ProtoMajor)
	first := read(w, response)
	first.is(http.StatusCreated, "payment 1\x00\xff")
	s.post("k", "{}").replays(first)
	s.send(s.request("k", io.MultiReader(strings.NewReader("{}")))).replays(first)
	s.post("k", "other").problem(idempotency.CodeKeyReused)
	s.post("k2", strings.Repeat("x", 2<<20)).problem(idempotency.CodeRequestTooLarge)
	route.ran(1)
}
