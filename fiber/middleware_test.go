package idempotencyfiber_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/compress"
	recoverer "github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/stretchr/testify/require"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/pgstore"
)

func TestOuterMiddlewareSeesWhatIsReallySent(t *testing.T) {
	t.Parallel()
	type view struct {
		status int
		body   string
		link   string
	}
	var got view
	s := newShop(t, func(c fiber.Ctx) error {
		require.Equal(t, "outer", c.GetRespHeader("X-Outer"), "the handler does not see what is set")
		c.Set("Link", "</a>")
		return c.Status(http.StatusAccepted).SendString("accepted")
	}, place{outer: []fiber.Handler{func(c fiber.Ctx) error {
		c.Set("X-Outer", "outer")
		err := c.Next()
		got = view{c.Response().StatusCode(), string(c.Response().Body()), c.GetRespHeader("Link")}
		return err
	}}})
	for range 2 {
		answer := s.order("k")
		require.Equal(t, view{http.StatusAccepted, "accepted", "</a>"}, got)
		require.Equal(t, "outer", answer.header.Get("X-Outer"))
	}
	problem := s.order("")
	require.Equal(t, http.StatusBadRequest, problem.status)
	require.Equal(t, view{http.StatusBadRequest, problem.body, ""}, got)
	s.ran(1)
}

func TestAPanicLeavesTheResponseAndTheContextAsTheyWere(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c fiber.Ctx) error {
		c.Set("X-Handler", "set")
		require.NoError(t, c.Status(http.StatusCreated).SendString("created"))
		panic("boom")
	}, place{outer: []fiber.Handler{func(c fiber.Ctx) error {
		before := c.Context()
		c.Set("X-Outer", "set")
		require.NoError(t, c.Status(http.StatusTeapot).SendString("outer"))
		defer func() {
			require.Equal(t, "boom", recover())
			require.Equal(t, before, c.Context())
		}()
		return c.Next()
	}}})
	for range 2 {
		answer := s.order("k")
		require.Equal(t, http.StatusTeapot, answer.status)
		require.Equal(t, "outer", answer.body)
		require.Equal(t, "set", answer.header.Get("X-Outer"))
		require.Empty(t, answer.header.Get("X-Handler"))
	}
	s.ran(2)
	s.happened(idempotency.Claimed, idempotency.Released, idempotency.Claimed, idempotency.Released)
}

func TestRecoverOutsideAndInsideAnswersAndFreesTheKey(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]place{
		"outside": {outer: []fiber.Handler{recoverer.New()}}, "inside": {inner: []fiber.Handler{recoverer.New()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := true
			s := newShop(t, func(c fiber.Ctx) error {
				if broken {
					panic("boom")
				}
				return c.Status(http.StatusCreated).SendString("created")
			}, at)
			answer := s.order("k")
			require.Equal(t, http.StatusInternalServerError, answer.status)
			require.Equal(t, "boom", answer.body) // as Fiber's default handler has it
			broken = false
			require.Equal(t, http.StatusCreated, s.order("k").status)
			require.True(t, s.order("k").replayed())
			s.ran(2)
		})
	}
}

func TestCompressOutsideCompressesFreshAnswersAndReplays(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("an order ", 1000)
	s := newShop(t, func(c fiber.Ctx) error { return c.Status(http.StatusCreated).SendString(text) },
		place{outer: []fiber.Handler{compress.New()}})
	for _, encoding := range []string{"gzip", "gzip", ""} {
		r := order("k", "{}")
		r.Header.Set("Accept-Encoding", encoding)
		answer := s.send(r)
		require.Equal(t, http.StatusCreated, answer.status)
		require.Equal(t, encoding, answer.header.Get("Content-Encoding"))
		if encoding == "gzip" {
			require.Less(t, len(answer.body), len(text)/10)
			unzip, err := gzip.NewReader(strings.NewReader(answer.body))
			require.NoError(t, err)
			plain, err := io.ReadAll(unzip)
			require.NoError(t, err)
			answer.body = string(plain)
		}
		require.Equal(t, text, answer.body)
	}
	s.ran(1)
}

func TestAHandlerHasFibersParametersLocalsAndBody(t *testing.T) {
	t.Parallel()
	var after any
	s := newShop(t, func(c fiber.Ctx) error {
		var in struct{ Amount int }
		require.NoError(t, c.Bind().Body(&in))
		require.Equal(t, 1, in.Amount)
		require.Equal(t, "7", c.Params("id"))
		require.Equal(t, "alice", c.Locals("account"))
		c.Locals("order", "made")
		return c.SendStatus(http.StatusNoContent)
	}, place{outer: []fiber.Handler{func(c fiber.Ctx) error {
		c.Locals("account", "alice")
		err := c.Next()
		after = c.Locals("order")
		return err
	}}})
	for _, want := range []any{"made", nil} {
		require.Equal(t, http.StatusNoContent, s.order("k").status)
		require.Equal(t, want, after)
	}
	s.ran(1)
}

func TestNextLetsARequestPass(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c fiber.Ctx) error { return c.SendString("done") },
		place{config: idempotencyfiber.Config{Next: func(c fiber.Ctx) bool { return c.Get("X-Internal") != "" }}})
	for range 2 {
		r := order("", "{}")
		r.Header.Set("X-Internal", "1")
		require.Equal(t, "done", s.send(r).body)
	}
	s.ran(2)
	s.happened()
	require.Equal(t, http.StatusBadRequest, s.order("").status)
	require.Equal(t, "done", s.order("k").body)
	require.True(t, s.order("k").replayed())
	s.ran(1)
}

// marked is a store whose attempts can be told by their context, as pgstore's transaction is.
type marked struct{ idempotency.Store }

type mark struct{}

func (s marked) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	if attempt != nil {
		attempt = markedAttempt{attempt}
	}
	return attempt, record, err
}

type markedAttempt struct{ idempotency.Attempt }

func (a markedAttempt) Context(ctx context.Context) context.Context {
	return context.WithValue(a.Attempt.Context(ctx), mark{}, "transaction")
}

func TestTheHandlersContextIsTheEngines(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	type outerKey struct{}
	var outer context.Context
	s := newShop(t, func(c fiber.Ctx) error {
		require.Equal(t, "transaction", c.Context().Value(mark{}))
		require.Equal(t, "outer", c.Context().Value(outerKey{}))
		_, bounded := c.Context().Deadline()
		require.True(t, bounded)
		require.NoError(t, c.Context().Err(), "the work ended with what is outside")

		require.Nil(t, c.Value(mark{}), "the fiber.Ctx knows its locals only")
		_, err := pgstore.Tx(c).Exec(c, "SELECT 1")
		require.ErrorIs(t, err, pgstore.ErrNoTx)
		return c.SendString("done")
	}, place{store: marked{store}, outer: []fiber.Handler{func(c fiber.Ctx) error {
		ctx, cancel := context.WithCancel(context.WithValue(c.Context(), outerKey{}, "outer"))
		defer cancel()
		c.SetContext(ctx)
		outer = ctx
		err := c.Next()
		require.Equal(t, outer, c.Context(), "of the handler")
		return err
	}}})
	require.Equal(t, "done", s.order("k").body)
	s.ran(1)
}

func TestARouteInTheMiddleOfAChainRunsAgainFromThere(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(conflicting{store, new(int)}, idempotency.Config{Reruns: 2})
	require.NoError(t, err)
	protect, err := idempotencyfiber.Middleware(engine, idempotencyfiber.Config{Scope: idempotencyfiber.SharedScope})
	require.NoError(t, err)
	var steps []string
	step := func(name string) fiber.Handler {
		return func(c fiber.Ctx) error {
			steps = append(steps, name)
			require.Nil(t, c.Locals(name), "of the first run")
			require.Equal(t, "set", c.Locals("outer"))
			c.Locals(name, "set")
			return c.Next()
		}
	}
	for name, mount := range map[string]func(app *fiber.App){
		"route": func(app *fiber.App) {
			app.Post("/orders/:id", step("before"), protect, step("one"), step("two"), last(&steps))
		},
		"group": func(app *fiber.App) {
			app.Use(step("before"), protect, step("one"))
			app.Group("/orders", step("two")).Post("/:id", last(&steps))
		},
	} {
		t.Run(name, func(t *testing.T) {
			steps = nil
			app := fiber.New()
			app.Use(func(c fiber.Ctx) error { c.Locals("outer", "set"); return c.Next() })
			mount(app)
			got := (&shop{T: t, App: app}).send(order(name, `{"amount":1}`))
			require.Equal(t, `7 {"amount":1}`, got.body)
			require.Equal(t, []string{"before", "one", "two", "last", "one", "two", "last", "one", "two", "last"}, steps)
		})
	}
}

func last(steps *[]string) fiber.Handler {
	return func(c fiber.Ctx) error {
		*steps = append(*steps, "last")
		c.Locals("outer", "changed")
		body := c.Params("id") + " " + string(c.Body())
		c.Request().SetBodyString("spoilt")
		return c.SendString(body)
	}
}

// conflicting is a store in which each third attempt goes through.
type conflicting struct {
	idempotency.Store
	tries *int
}

func (s conflicting) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	if *s.tries++; attempt != nil && *s.tries%3 != 0 {
		attempt = conflictingAttempt{attempt}
	}
	return attempt, record, err
}

type conflictingAttempt struct{ idempotency.Attempt }

func (a conflictingAttempt) Complete(ctx context.Context, _ *idempotency.Record, _ time.Duration) (idempotency.Settled, error) {
	return idempotency.Settled{}, errors.Join(idempotency.ErrTransactionConflict, a.Release(ctx))
}
