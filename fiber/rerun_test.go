package idempotencyfiber_test

import (
	"strings"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/stretchr/testify/require"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// again returns a shop whose store has every handler run three times before it commits.
func again(t *testing.T, app *fiber.App) (*shop, fiber.Handler) {
	t.Helper()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(conflicting{store, new(int)}, idempotency.Config{Reruns: 2})
	require.NoError(t, err)
	protect, err := idempotencyfiber.Middleware(engine, idempotencyfiber.Config{Scope: idempotencyfiber.SharedScope})
	require.NoError(t, err)
	return &shop{T: t, App: app}, protect
}

func TestARunBeginsWithTheRequestAsItCameWhateverTheOneBeforeDidToIt(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(c fiber.Ctx){
		"nothing": func(fiber.Ctx) {},
		"path":    func(c fiber.Ctx) { c.Path("/audits/9") },
		"header":  func(c fiber.Ctx) { c.Request().Header.Set("X-By", "mallory") },
		"query":   func(c fiber.Ctx) { c.Request().URI().QueryArgs().Set("amount", "9999") },
		"body": func(c fiber.Ctx) {
			for i := range c.Body() {
				c.Body()[i] = 'x'
			}
		},
	} {
		for _, streamed := range []bool{false, true} {
			s, protect := again(t, fiber.New(fiber.Config{StreamRequestBody: streamed}))
			s.Post("/orders/:id", protect, func(c fiber.Ctx) error {
				s.runs.Add(1)
				seen := strings.Clone(strings.Join([]string{c.Params("id"), c.Get("X-By"), c.Query("amount"), string(c.Body())}, " "))
				spoil(c)
				return c.SendString(seen)
			})
			r := orderAt("/orders/7?amount=1", "k", "{}")
			r.Header.Set("X-By", "charlie")
			require.Equal(t, "7 charlie 1 {}", s.send(r).body, name)
			require.EqualValues(t, 3, s.runs.Load(), name)
		}
	}
}

func TestARunBeginsAtThePathThatTheMiddlewareWasAskedAt(t *testing.T) {
	t.Parallel()
	s, protect := again(t, fiber.New())
	s.Use(protect)
	s.Use(func(c fiber.Ctx) error {
		if rest, versioned := strings.CutPrefix(c.Path(), "/v1"); versioned {
			c.Path(strings.Clone(rest))
		}
		return c.Next()
	})
	s.Post("/orders/:id", func(c fiber.Ctx) error { return c.SendString("paid " + c.Params("id")) })
	got := s.send(orderAt("/v1/orders/7", "k", "{}"))
	require.Equal(t, "paid 7", got.body)
	require.Equal(t, got.body, s.send(orderAt("/v1/orders/7", "k", "{}")).body)
}

type pointing struct{ *fiber.DefaultCtx }

func TestAContextOfOnesOwnIsSetBackToo(t *testing.T) {
	t.Parallel()
	s, protect := again(t, fiber.NewWithCustomCtx(func(app *fiber.App) fiber.CustomCtx { return &pointing{fiber.NewDefaultCtx(app)} }))
	s.Post("/orders/:id", protect, func(c fiber.Ctx) error {
		s.runs.Add(1)
		return c.SendString("paid " + c.Params("id"))
	})
	require.Equal(t, "paid 7", s.order("k").body)
	require.EqualValues(t, 3, s.runs.Load())
}

// Fiber has its app-wide handlers run for what it could not read, too, and then says so to the client.
func TestWhatFiberCouldNotReadReachesNoAppWideHandler(t *testing.T) {
	t.Parallel()
	s := &shop{T: t, App: fiber.New()}
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	protect, err := idempotencyfiber.Middleware(engine, idempotencyfiber.Config{Scope: idempotencyfiber.SharedScope})
	require.NoError(t, err)
	s.Use(protect)
	s.Use("/orders", func(c fiber.Ctx) error {
		s.runs.Add(1)
		return c.SendString("paid")
	})
	address := s.listen()
	conn := s.dial(address)
	conn.send(framed("k", "2\r\n{}\r\n0\r\nAuthorization: x\r\n\r\n", inChunks))
	require.NoError(t, conn.CloseWrite())
	require.Equal(t, 400, conn.answer().status)
	require.Zero(t, s.runs.Load())
	got := s.dial(address).ask(payment("k", "{}"))
	require.Equal(t, "paid", got.body)
	require.False(t, got.replayed())
}
