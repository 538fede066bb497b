package idempotencyfiber_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiberv2"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// What is answered by Fiber's error handler, before there is a request, is not the answer to a key.
func TestARequestThatFiberCouldNotReadIsNotKept(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a body over the limit": framed("k", "", "Content-Length: 2000"),
		"a forbidden trailer":   framed("k", "2\r\n{}\r\n0\r\nAuthorization: x\r\n\r\n", inChunks),
		"a bad host":            strings.Replace(payment("k", ""), "Host: test", "Host: [", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShopWithMiddleware(t, fiber.Config{BodyLimit: 1000})
			address := s.listen()
			conn := s.dial(address)
			conn.send(text)
			got := conn.answer()
			require.GreaterOrEqual(t, got.status, 400)
			require.NotEqual(t, http.StatusConflict, got.status)
			s.ran(0)
			for _, want := range []bool{false, true} {
				got := s.dial(address).ask(payment("k", "{}"))
				require.Equal(t, "{}", got.body)
				require.Equal(t, want, got.replayed())
			}
			s.ran(1)
		})
	}
}

// newShopWithMiddleware protects the whole app.
func newShopWithMiddleware(t *testing.T, config fiber.Config) *shop {
	t.Helper()
	s := &shop{T: t, App: fiber.New(quiet(config))}
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	protect, err := idempotencyfiber.Middleware(engine, idempotencyfiber.Config{Scope: idempotencyfiber.SharedScope})
	require.NoError(t, err)
	s.Use(protect)
	s.Post("/orders/:id", func(c *fiber.Ctx) error { s.runs.Add(1); return echoes(c) })
	return s
}
