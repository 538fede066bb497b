package idempotencyfiber_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/stretchr/testify/require"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// shop is an app with one protected route, and the events of its engine.
type shop struct {
	*testing.T
	*fiber.App
	runs   atomic.Int64
	mu     sync.Mutex
	events []idempotency.EventKind
}

// place is where a shop's middleware stands, and how its app is configured.
type place struct {
	app          fiber.Config
	config       idempotencyfiber.Config
	outer, inner []fiber.Handler
	store        idempotency.Store
}

// newShop answers POST /orders/:id with handler.
func newShop(t *testing.T, handler fiber.Handler, at place) *shop {
	t.Helper()
	s := &shop{T: t, App: fiber.New(at.app)}
	if at.store == nil {
		store, err := memstore.New(memstore.Config{})
		require.NoError(t, err)
		at.store = store
	}
	engine, err := idempotency.New(at.store, idempotency.Config{Observer: func(_ context.Context, event idempotency.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, event.Kind)
	}})
	require.NoError(t, err)
	if at.config.Scope == nil {
		at.config.Scope = idempotencyfiber.SharedScope
	}
	protect, err := idempotencyfiber.Middleware(engine, at.config)
	require.NoError(t, err)
	for _, outer := range at.outer {
		s.Use(outer)
	}
	last := func(c fiber.Ctx) error { s.runs.Add(1); return handler(c) }
	chain := []any{protect}
	for _, inner := range at.inner {
		chain = append(chain, inner)
	}
	chain = append(chain, last)
	s.Post("/orders/:id", chain[0], chain[1:]...)
	return s
}

// answer is a response as a client has it.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) replayed() bool { return a.header.Get("Idempotent-Replayed") == "true" }

// send has the app answer r, as it comes by a connection.
func (s *shop) send(r *http.Request) answer {
	s.Helper()
	response, err := s.Test(r, fiber.TestConfig{})
	require.NoError(s.T, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(s.T, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

// order sends an order; without a key where key is empty.
func (s *shop) order(key string) answer {
	s.Helper()
	return s.send(order(key, `{"amount":1}`))
}

func order(key, body string) *http.Request { return orderAt("/orders/7", key, body) }

func orderAt(target, key, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return r
}

// ran checks how often the handler ran since the last time it was asked.
func (s *shop) ran(want int) {
	s.Helper()
	require.EqualValues(s.T, want, s.runs.Swap(0), "executions of the handler")
}

func (s *shop) happened(want ...idempotency.EventKind) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(s.T, want, s.events)
	s.events = nil
}
