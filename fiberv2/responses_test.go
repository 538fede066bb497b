package idempotencyfiber_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestWhateverWayAHandlerAnswersItsReplayIsTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "receipt.txt")
	require.NoError(t, os.WriteFile(path, []byte("receipt"), 0o600))
	for name, c := range map[string]struct {
		handler fiber.Handler
		status  int
		body    string
	}{
		"nothing":     {func(*fiber.Ctx) error { return nil }, 200, ""},
		"a status":    {func(c *fiber.Ctx) error { return c.SendStatus(202) }, 202, "Accepted"},
		"no content":  {func(c *fiber.Ctx) error { return c.SendStatus(204) }, 204, ""},
		"a string":    {func(c *fiber.Ctx) error { return c.Status(201).SendString("paid") }, 201, "paid"},
		"JSON":        {func(c *fiber.Ctx) error { return c.Status(201).JSON(fiber.Map{"id": 1}) }, 201, `{"id":1}`},
		"bytes":       {func(c *fiber.Ctx) error { c.Type("bin"); return c.Send([]byte("\x00\xff")) }, 200, "\x00\xff"},
		"a writer":    {func(c *fiber.Ctx) error { _, err := io.Copy(c, strings.NewReader("written")); return err }, 200, "written"},
		"a stream":    {func(c *fiber.Ctx) error { return c.SendStream(strings.NewReader("stream")) }, 200, "stream"},
		"with a size": {func(c *fiber.Ctx) error { return c.SendStream(strings.NewReader("stream"), 6) }, 200, "stream"},
		"a limited":   {func(c *fiber.Ctx) error { return c.SendStream(io.LimitReader(strings.NewReader("stream"), 3)) }, 200, "str"},
		"an empty":    {func(c *fiber.Ctx) error { return c.SendStream(strings.NewReader("")) }, 200, ""},
		"a file":      {func(c *fiber.Ctx) error { return c.SendFile(path) }, 200, "receipt"},
		"fasthttp's": {func(c *fiber.Ctx) error {
			c.Response().SetBodyRaw([]byte("raw"))
			c.Response().Header.SetContentType("text/raw")
			return nil
		}, 200, "raw"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := fiber.New()
			plain.Post("/orders/:id", c.handler)
			bare := (&shop{T: t, App: plain}).order("k")
			s := newShop(t, c.handler, place{})
			for i := range 3 {
				got := s.order("k")
				require.Equal(t, c.status, got.status)
				require.Equal(t, c.body, got.body)
				require.Equal(t, bare.body, got.body)
				require.Equal(t, bare.header.Get("Content-Type"), got.header.Get("Content-Type"), "as without protection")
				require.Equal(t, i > 0, got.replayed())
			}
			s.ran(1)
		})
	}
}

func TestARedirectKeepsItsTargetAndCookiesAreSentOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c *fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "a", Value: "1"})
		c.Cookie(&fiber.Cookie{Name: "b", Value: "2"})
		c.Response().Header.Add("Link", "</a>")
		c.Response().Header.Add("Link", "</b>")
		c.Set("X-Once", "1")
		c.Set("Location", "/receipts/7")
		return c.SendStatus(http.StatusSeeOther)
	}, place{})
	first, second := s.order("k"), s.order("k")
	for _, got := range []answer{first, second} {
		require.Equal(t, http.StatusSeeOther, got.status)
		require.Equal(t, "/receipts/7", got.header.Get("Location"))
		require.Equal(t, []string{"</a>", "</b>"}, got.header["Link"])
	}
	require.Len(t, first.header["Set-Cookie"], 2)
	require.Equal(t, "1", first.header.Get("X-Once"))
	require.Empty(t, second.header["Set-Cookie"])
	require.Empty(t, second.header["X-Once"])
	s.ran(1)
}

func TestWhatCannotBeKeptIsRefusedAndRolledBack(t *testing.T) {
	t.Parallel()
	streams := func(w *bufio.Writer) {
		for range 100 {
			_, _ = w.WriteString("data: 1\n\n")
			if w.Flush() != nil {
				return // nobody listens
			}
		}
	}
	for name, handler := range map[string]fiber.Handler{
		"fasthttp's": func(c *fiber.Ctx) error { c.Context().SetBodyStreamWriter(streams); return nil },
		"server-sent events": func(c *fiber.Ctx) error {
			c.Set("Content-Type", "text/event-stream")
			return c.SendStream(strings.NewReader("data: 1\n\n"))
		},
		"a connection": func(c *fiber.Ctx) error {
			c.Context().Hijack(func(net.Conn) { t.Error("hijacked") })
			return c.SendStatus(201)
		},
		"a silent one": func(c *fiber.Ctx) error {
			c.Context().HijackSetNoResponse(true)
			c.Context().Hijack(func(net.Conn) { t.Error("hijacked") })
			return nil
		},
		"another protocol":    func(c *fiber.Ctx) error { return c.SendStatus(http.StatusSwitchingProtocols) },
		"early hints":         func(c *fiber.Ctx) error { return c.SendStatus(http.StatusEarlyHints) },
		"no status":           func(c *fiber.Ctx) error { return c.Status(99).SendString("x") },
		"no status either":    func(c *fiber.Ctx) error { return c.Status(1000).SendString("x") },
		"a body that breaks":  func(c *fiber.Ctx) error { return c.SendStream(iotest.ErrReader(errors.New("secret"))) },
		"a body too short":    func(c *fiber.Ctx) error { return c.SendStream(strings.NewReader("12"), 3) },
		"a body too long":     func(c *fiber.Ctx) error { return c.SendStream(strings.NewReader("1234"), 3) },
		"a body without end":  func(c *fiber.Ctx) error { return c.SendStream(neverEnding{}) },
		"a body of two pages": func(c *fiber.Ctx) error { return c.Send(make([]byte, 2<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := true
			s := newShop(t, func(c *fiber.Ctx) error {
				if broken {
					c.Set("X-Handler", "set")
					return handler(c)
				}
				return c.SendString("paid")
			}, place{})
			got := s.order("k")
			require.Equal(t, http.StatusInternalServerError, got.status, got.body)
			require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
			require.Empty(t, got.header.Get("X-Handler"))
			require.NotContains(t, got.body, "secret")
			s.happened(idempotency.Claimed, idempotency.Released)
			broken = false
			require.Equal(t, "paid", s.order("k").body)
			require.True(t, s.order("k").replayed())
			s.ran(2)
		})
	}
}

// neverEnding is a body of zeros.
type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

func TestATimeoutOfFasthttpsOwnIsTheAnswer(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c *fiber.Ctx) error {
		c.Context().TimeoutErrorWithCode("too slow", http.StatusServiceUnavailable)
		return c.Status(http.StatusCreated).SendString("created")
	}, place{})
	for range 2 {
		got := s.order("k")
		require.Equal(t, http.StatusServiceUnavailable, got.status)
		require.Equal(t, "too slow", got.body)
	}
	s.ran(2)
}
