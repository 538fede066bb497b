package idempotencyfiber_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestAnErrorIsAnsweredByTheAppsHandlerWhichDecidesTheOutcome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		err     error
		status  int
		body    string
		outcome idempotency.EventKind
	}{
		{"a refusal is kept", fiber.NewError(http.StatusPaymentRequired, "no funds"), 402, "no funds", idempotency.Refused},
		{"fiber's own error", fiber.ErrNotFound, 404, "Not Found", idempotency.Refused},
		{"too many requests", fiber.ErrTooManyRequests, 429, "Too Many Requests", idempotency.Released},
		{"a conflict", fiber.ErrConflict, 409, "Conflict", idempotency.Released},
		{"a failure is forgotten", fiber.NewError(http.StatusInternalServerError, "broken"), 500, "broken", idempotency.Released},
		{"a plain error is a 500", errors.New("plain"), 500, "plain", idempotency.Released}, // as Fiber's default handler has it
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, func(fiber.Ctx) error { return c.err }, place{})
			first, second := s.order("k"), s.order("k")
			kept := c.outcome == idempotency.Refused
			for _, answer := range []answer{first, second} {
				require.Equal(t, c.status, answer.status)
				require.Equal(t, c.body, answer.body)
				require.Equal(t, "text/plain; charset=utf-8", answer.header.Get("Content-Type"))
			}
			require.Equal(t, kept, second.replayed())
			s.ran(map[bool]int{true: 1, false: 2}[kept])
			require.Equal(t, c.outcome, s.events[1])
		})
	}
}

func TestAnErrorAfterAnAnswerIsTheAnswer(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c fiber.Ctx) error {
		c.Set("Retry-After", "7") // which Fiber sends with the error
		require.NoError(t, c.Status(http.StatusCreated).SendString("created"))
		return fiber.NewError(http.StatusServiceUnavailable, "broken")
	}, place{})
	answer := s.order("k")
	require.Equal(t, http.StatusServiceUnavailable, answer.status)
	require.Equal(t, "broken", answer.body)
	require.Equal(t, "7", answer.header.Get("Retry-After"))
	s.happened(idempotency.Claimed, idempotency.Released)
}

func TestAnErrorThatTheAppsHandlerDoesNotAnswerIsLeftToTheServer(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	var seen error
	s := newShop(t, func(c fiber.Ctx) error {
		c.Set("X-Handler", "set")
		return mine
	}, place{
		app: fiber.Config{ErrorHandler: func(_ fiber.Ctx, err error) error { return err }},
		outer: []fiber.Handler{func(c fiber.Ctx) error {
			seen = c.Next()
			require.Empty(t, c.Response().Header.Peek("X-Handler"), "of an answer that nobody gave")
			return c.SendStatus(http.StatusTeapot)
		}},
	})
	require.Equal(t, http.StatusTeapot, s.order("k").status)
	require.Same(t, mine, seen)
	s.happened(idempotency.Claimed, idempotency.Released)
}

func TestTheErrorHandlerOfAMountedAppIsAsked(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(fiber.Ctx) error { return errors.New("broken") }, place{
		app: fiber.Config{ErrorHandler: func(c fiber.Ctx, _ error) error {
			return c.Status(http.StatusPaymentRequired).SendString("of the shop")
		}},
	})
	outer := fiber.New()
	outer.Use("/shop", s.App)
	s.App = outer
	for i := range 2 {
		answer := s.send(orderAt("/shop/orders/7", "k", "{}"))
		require.Equal(t, http.StatusPaymentRequired, answer.status)
		require.Equal(t, "of the shop", answer.body)
		require.Equal(t, i == 1, answer.replayed())
	}
	s.ran(1)
}
