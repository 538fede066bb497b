package idempotencyfiber_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v3"
	recoverer "github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/stretchr/testify/require"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
)

func echoes(c fiber.Ctx) error { return c.SendString(string(c.Body())) }

// Without StreamRequestBody Fiber reads a body before any handler runs; with it, the middleware does.
func TestABodyThatIsStreamedIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 8 << 10, 8<<10 + 1, 100 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			s := newShop(t, echoes, place{app: fiber.Config{StreamRequestBody: true}})
			conn := s.dial(s.listen())
			body := strings.Repeat("x", size)
			for i := range 3 {
				got := conn.ask(payment("k", body))
				require.Equal(t, http.StatusOK, got.status)
				require.Equal(t, body, got.body)
				require.Equal(t, i > 0, got.replayed())
			}
			require.Equal(t, http.StatusUnprocessableEntity, conn.ask(payment("k", body+"x")).status)
			s.ran(1)
		})
	}
}

// fasthttp gives out the end of a connection as the end of a body.
func TestAStreamedBodyThatEndsEarlyIsNotProcessed(t *testing.T) {
	t.Parallel()
	s := newShop(t, echoes, place{app: fiber.Config{StreamRequestBody: true}})
	address := s.listen()
	for name, text := range map[string]string{
		"a length":                  framed("k", strings.Repeat("x", 10<<10), "Content-Length: 20000"),
		"chunks":                    framed("k", "2\r\n{}\r\n", inChunks),
		"chunks that are all there": framed("k", "2\r\n{}\r\n0\r\n\r\n", inChunks), // which cannot be told from those
	} {
		conn := s.dial(address)
		conn.send(text)
		require.NoError(t, conn.CloseWrite())
		got := conn.answer()
		require.Equal(t, http.StatusBadRequest, got.status, name)
		require.Contains(t, got.body, `"request-unreadable"`, name)
	}
	s.ran(0)
	s.happened()
	require.Equal(t, "{}", s.dial(address).ask(payment("k", "{}")).body)
}

// fasthttp takes what is left of a streamed body for the next request.
func TestAStreamedBodyThatNobodyHasReadIsNoRequest(t *testing.T) {
	t.Parallel()
	smuggled := payment("smuggled", "{}")
	for name, text := range map[string]string{
		"a bad key":           payment("a,b", strings.Repeat("x", 9<<10)+smuggled),
		"a bad key in chunks": framed("a,b", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), inChunks),
		"chunks":              framed("k", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), inChunks),
		"a panic":             payment("k", strings.Repeat("x", 9<<10)+smuggled, "X-Panic: 1"),
		"more than is read":   payment("a,b", strings.Repeat("x", 1<<20)+smuggled),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := idempotencyfiber.Config{Scope: func(c fiber.Ctx) (string, error) {
				if c.Get("X-Panic") != "" {
					panic("boom")
				}
				return idempotencyfiber.SharedScope(c)
			}}
			s := newShop(t, func(fiber.Ctx) error { t.Error("the body ran as a request"); return nil },
				place{app: fiber.Config{StreamRequestBody: true}, config: config, outer: []fiber.Handler{recoverer.New()}})
			conn := s.dial(s.listen())
			conn.send(text)
			_ = conn.CloseWrite() // the server may have closed the connection already
			require.GreaterOrEqual(t, conn.answer().status, 400)
			rest, _ := io.ReadAll(conn.in) // or a reset, where the server has not read all of it
			require.Empty(t, rest, "one request had more than one answer")
			s.ran(0)
		})
	}
}

// Fiber takes forms in parts to pieces before a handler runs, and the bytes are gone.
func TestAFormInPartsIsTheSameAsOftenAsItComes(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]fiber.Config{
		"taken to pieces": {}, "as it is": {DisablePreParseMultipartForm: true}, "streamed": {StreamRequestBody: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, func(c fiber.Ctx) error {
				file, err := c.FormFile("receipt")
				if err != nil {
					return err
				}
				return c.SendString(c.FormValue("amount") + " " + file.Filename)
			}, place{app: config})
			send := func(key, receipt string) answer {
				r := order(key, form(t, receipt))
				r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
				return s.send(r)
			}
			for i := range 20 {
				got := send("k", "one receipt")
				require.Equal(t, "1 receipt.txt", got.body)
				require.Equal(t, i > 0, got.replayed())
			}
			require.Equal(t, http.StatusUnprocessableEntity, send("k", "two receipts").status)
			require.Equal(t, http.StatusRequestEntityTooLarge, send("large", strings.Repeat("x", 1<<20)).status)
			s.ran(1)
		})
	}
}

// form has more fields than come in one order out of a map by chance.
func form(t *testing.T, receipt string) string {
	t.Helper()
	var text bytes.Buffer
	to := multipart.NewWriter(&text)
	require.NoError(t, to.SetBoundary("b"))
	for _, field := range []string{"amount", "b", "c", "d", "e", "f"} {
		require.NoError(t, to.WriteField(field, "1"))
		require.NoError(t, to.WriteField(field, "2"))
	}
	for _, name := range []string{"receipt", "g", "h"} {
		file, err := to.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename="receipt.txt"`, name)},
			"Content-Type":        {"text/plain"}, "X-Page": {"1"},
		})
		require.NoError(t, err)
		_, err = file.Write([]byte(receipt))
		require.NoError(t, err)
	}
	require.NoError(t, to.Close())
	return text.String()
}

func TestAClientThatGoesAwayFindsItsAnswerLater(t *testing.T) {
	t.Parallel()
	inside, release := make(chan struct{}), make(chan struct{})
	finished := make(chan struct{})
	s := newShop(t, func(c fiber.Ctx) error {
		close(inside)
		<-release
		defer close(finished)
		if err := c.Context().Err(); err != nil {
			t.Error("the work ended with the client")
		}
		return c.Status(http.StatusCreated).SendString("paid")
	}, place{})
	address := s.listen()
	conn := s.dial(address)
	conn.send(payment("k", "{}"))
	<-inside
	require.NoError(t, conn.SetLinger(0))
	require.NoError(t, conn.Close())
	require.Equal(t, http.StatusConflict, s.dial(address).ask(payment("k", "{}")).status)
	close(release)
	<-finished
	var got answer
	require.Eventually(t, func() bool { // the commit comes after the handler
		got = s.dial(address).ask(payment("k", "{}"))
		return got.status != http.StatusConflict
	}, patience, 1)
	require.Equal(t, http.StatusCreated, got.status)
	require.True(t, got.replayed())
	require.Equal(t, "paid", got.body)
	s.ran(1)
}
