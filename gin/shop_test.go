package idempotencygin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	idempotencygin "github.com/onlyonce/onlyonce/gin"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// shop is a gin server with one protected route, and the events of its engine.
type shop struct {
	*gin.Engine
	runs   int
	events []idempotency.EventKind
}

// around is what else is in the chain: outside of the protection, and inside of it.
type around struct {
	outer, inner []gin.HandlerFunc
	config       idempotency.Config
	store        func(idempotency.Store) idempotency.Store
}

// newShop answers POST /orders/:id with handler.
func newShop(t *testing.T, handler gin.HandlerFunc, around around) *shop {
	t.Helper()
	s := &shop{Engine: gin.New()}
	memory, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	store := idempotency.Store(memory)
	if around.store != nil {
		store = around.store(memory)
	}
	around.config.Observer = func(_ context.Context, event idempotency.Event) { s.events = append(s.events, event.Kind) }
	engine, err := idempotency.New(store, around.config)
	require.NoError(t, err)
	protect, err := idempotencygin.Middleware(engine, idempotencygin.Config{Scope: idempotencygin.SharedScope})
	require.NoError(t, err)
	s.Use(around.outer...)
	s.Use(protect)
	s.Use(around.inner...)
	s.POST("/orders/:id", func(c *gin.Context) { s.runs++; handler(c) })
	return s
}

func order(key string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/orders/7", strings.NewReader(`{"amount":1}`))
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return r
}

func (s *shop) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// order sends a request; without a key where key is empty.
func (s *shop) order(key string) *httptest.ResponseRecorder { return s.send(order(key)) }
