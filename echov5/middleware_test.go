package idempotencyecho_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/stretchr/testify/require"

	idempotencyecho "github.com/onlyonce/onlyonce/echov5"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// shop is an Echo server with one protected route, and the events of its engine.
type shop struct {
	*echo.Echo
	runs   int
	events []idempotency.EventKind
}

// newShop answers POST /orders/:id with handler. The middleware in outer is outside of the protection, that in inner inside.
func newShop(t *testing.T, handler echo.HandlerFunc, outer []echo.MiddlewareFunc, inner ...echo.MiddlewareFunc) *shop {
	s := &shop{Echo: echo.New()}
	s.Logger = slog.New(slog.DiscardHandler)
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{Observer: func(_ context.Context, event idempotency.Event) {
		s.events = append(s.events, event.Kind)
	}})
	require.NoError(t, err)
	protect, err := idempotencyecho.Middleware(engine, idempotencyecho.Config{Scope: idempotencyecho.SharedScope})
	require.NoError(t, err)
	s.Use(outer...)
	s.POST("/orders/:id", func(c *echo.Context) error { s.runs++; return handler(c) }, append([]echo.MiddlewareFunc{protect}, inner...)...)
	return s
}

// order sends a request; without a key where key is empty.
func (s *shop) order(key string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/orders/7", strings.NewReader(`{"amount":1}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Encoding", "gzip")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// responseOf returns the echo.Response that a context has now.
func responseOf(t *testing.T, c *echo.Context) *echo.Response {
	t.Helper()
	response, err := echo.UnwrapResponse(c.Response())
	require.NoError(t, err)
	return response
}

func TestAnErrorIsAnsweredByEchosHandlerWhichDecidesTheOutcome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		err     error
		status  int
		body    string
		outcome idempotency.EventKind
	}{
		{"a refusal is kept", echo.NewHTTPError(http.StatusPaymentRequired, "no funds"), 402, `{"message":"no funds"}`, idempotency.Refused},
		{"echo's own error", echo.ErrNotFound, 404, `{"message":"Not Found"}`, idempotency.Refused},
		{"too many requests", echo.ErrTooManyRequests, 429, `{"message":"Too Many Requests"}`, idempotency.Released},
		{"a conflict", echo.NewHTTPError(http.StatusConflict, "Conflict"), 409, `{"message":"Conflict"}`, idempotency.Released},
		{"a failure is forgotten", echo.NewHTTPError(http.StatusInternalServerError, "broken"), 500, `{"message":"broken"}`, idempotency.Released},
		{"a plain error is a 500", errors.New("secret"), 500, `{"message":"Internal Server Error"}`, idempotency.Released},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, func(*echo.Context) error { return c.err }, nil)
			first, second := s.order("k"), s.order("k")
			kept := c.outcome == idempotency.Refused
			for _, answer := range []*httptest.ResponseRecorder{first, second} {
				require.Equal(t, c.status, answer.Code)
				require.JSONEq(t, c.body, answer.Body.String())
				require.Equal(t, echo.MIMEApplicationJSON, answer.Header().Get("Content-Type"))
			}
			require.Equal(t, kept, second.Header().Get("Idempotent-Replayed") == "true")
			require.Equal(t, map[bool]int{true: 1, false: 2}[kept], s.runs)
			require.Equal(t, c.outcome, s.events[1])
		})
	}
}

func TestAnErrorAfterAnAnswerIsTheAnswer(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c *echo.Context) error {
		c.Response().Header().Set("Location", "/orders/7")
		require.NoError(t, c.String(http.StatusCreated, "created"))
		return echo.NewHTTPError(http.StatusInternalServerError, "broken")
	}, nil)
	answer := s.order("k")
	require.Equal(t, http.StatusInternalServerError, answer.Code)
	require.JSONEq(t, `{"message":"broken"}`, answer.Body.String())
	require.Empty(t, answer.Header().Get("Location"), "of the answer that was taken back")
	require.Equal(t, []idempotency.EventKind{idempotency.Claimed, idempotency.Released}, s.events)
}

// shouting is a response that middleware has put around Echo's, and that takes back nothing.
type shouting struct{ http.ResponseWriter }

func (s shouting) Write(b []byte) (int, error) { return s.ResponseWriter.Write(bytes.ToUpper(b)) }

func (s shouting) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func TestAResponseThatMiddlewareLeftBehindIsNoneOfTheErrors(t *testing.T) {
	t.Parallel()
	inner := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			c.SetResponse(shouting{c.Response()})
			return next(c)
		}
	}
	for name, handler := range map[string]echo.HandlerFunc{
		"before an answer": func(*echo.Context) error { return echo.NewHTTPError(http.StatusPaymentRequired, "no funds") },
		"after one": func(c *echo.Context) error {
			require.NoError(t, c.String(http.StatusCreated, "made"))
			return echo.NewHTTPError(http.StatusPaymentRequired, "no funds")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, handler, nil, inner)
			for range 2 {
				answer := s.order("k")
				require.Equal(t, http.StatusPaymentRequired, answer.Code)
				require.JSONEq(t, `{"message":"no funds"}`, answer.Body.String())
			}
			require.Equal(t, 1, s.runs)
		})
	}
}

func TestAnErrorThatEchosHandlerDoesNotAnswerIsLeftToTheServer(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	var seen error
	outer := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			seen = next(c)
			require.False(t, responseOf(t, c).Committed)
			return c.NoContent(http.StatusTeapot)
		}
	}
	s := newShop(t, func(*echo.Context) error { return mine }, []echo.MiddlewareFunc{outer})
	s.HTTPErrorHandler = func(*echo.Context, error) {}
	require.Equal(t, http.StatusTeapot, s.order("k").Code)
	require.Same(t, mine, seen)
	require.Equal(t, []idempotency.EventKind{idempotency.Claimed, idempotency.Released}, s.events)
}

func TestOuterMiddlewareSeesWhatIsReallySent(t *testing.T) {
	t.Parallel()
	type view struct {
		status        int
		size          int64
		before, after int
	}
	var got view
	outer := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			got = view{}
			request, response := c.Request(), responseOf(t, c)
			response.Before(func() { got.before++; response.Header().Set("X-Outer", "set") })
			response.After(func() { got.after++ })
			err := next(c)
			require.Same(t, request, c.Request())
			require.Same(t, response, c.Response())
			require.True(t, response.Committed)
			got.status, got.size = response.Status, response.Size
			return err
		}
	}
	s := newShop(t, func(c *echo.Context) error {
		require.Zero(t, got.before, "sent before it is committed")
		require.NoError(t, c.String(http.StatusAccepted, "half"))
		require.Zero(t, got.before)
		_, err := c.Response().Write([]byte("+half"))
		return err
	}, []echo.MiddlewareFunc{outer})

	for _, name := range []string{"fresh", "replayed"} {
		answer := s.order("k")
		require.Equal(t, "half+half", answer.Body.String(), name)
		require.Equal(t, view{status: http.StatusAccepted, size: 9, before: 1, after: 1}, got, name)
		require.Equal(t, "set", answer.Header().Get("X-Outer"), name)
	}
	problem := s.order("")
	require.Equal(t, http.StatusBadRequest, problem.Code)
	require.Equal(t, view{status: http.StatusBadRequest, size: int64(problem.Body.Len()), before: 1, after: 1}, got)
	require.Equal(t, 1, s.runs)
}

func TestTheContextIsRestoredAfterAPanic(t *testing.T) {
	t.Parallel()
	outer := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			request, response := c.Request(), responseOf(t, c)
			defer func() {
				require.Equal(t, "boom", recover())
				require.Same(t, request, c.Request())
				require.Same(t, response, c.Response())
				require.False(t, response.Committed)
				require.NoError(t, c.NoContent(http.StatusTeapot))
			}()
			return next(c)
		}
	}
	s := newShop(t, func(c *echo.Context) error {
		require.NoError(t, c.String(http.StatusCreated, "created"))
		panic("boom")
	}, []echo.MiddlewareFunc{outer})
	for range 2 {
		answer := s.order("k")
		require.Equal(t, http.StatusTeapot, answer.Code)
		require.Empty(t, answer.Header().Get("Content-Type"), "of the answer that was taken back")
	}
	require.Equal(t, 2, s.runs)
}

func TestRecoverOutsideAndInsideAnswersAndFreesTheKey(t *testing.T) {
	t.Parallel()
	quiet := middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true})
	for name, place := range map[string][2][]echo.MiddlewareFunc{"outside": {{quiet}, nil}, "inside": {nil, {quiet}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := true
			s := newShop(t, func(c *echo.Context) error {
				if broken {
					panic("boom")
				}
				return c.String(http.StatusCreated, "created")
			}, place[0], place[1]...)
			answer := s.order("k")
			require.Equal(t, http.StatusInternalServerError, answer.Code)
			require.JSONEq(t, `{"message":"Internal Server Error"}`, answer.Body.String())
			broken = false
			require.Equal(t, http.StatusCreated, s.order("k").Code)
			require.Equal(t, "true", s.order("k").Header().Get("Idempotent-Replayed"))
			require.Equal(t, 2, s.runs)
		})
	}
}

func TestGzipOutsideCompressesFreshAnswersAndReplays(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("an order ", 1000)
	s := newShop(t, func(c *echo.Context) error { return c.String(http.StatusCreated, text) }, []echo.MiddlewareFunc{middleware.Gzip()})
	for range 2 {
		answer := s.order("k")
		require.Equal(t, http.StatusCreated, answer.Code)
		require.Equal(t, "gzip", answer.Header().Get("Content-Encoding"))
		require.Less(t, answer.Body.Len(), len(text)/10)
		unzip, err := gzip.NewReader(answer.Body)
		require.NoError(t, err)
		got, err := io.ReadAll(unzip)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	require.Equal(t, 1, s.runs)
}

func TestFlushAndHijackSendNothing(t *testing.T) {
	t.Parallel()
	var sent *httptest.ResponseRecorder
	s := newShop(t, func(c *echo.Context) error {
		require.NoError(t, c.String(http.StatusCreated, "created"))
		responseOf(t, c).Flush()
		_, _, err := responseOf(t, c).Hijack()
		require.ErrorContains(t, err, "cannot be flushed or hijacked")
		require.False(t, sent.Flushed)
		require.Zero(t, sent.Body.Len())
		return nil
	}, nil)
	r := httptest.NewRequest(http.MethodPost, "/orders/7", nil)
	r.Header.Set("Idempotency-Key", "k")
	sent = httptest.NewRecorder()
	s.ServeHTTP(sent, r)
	require.Equal(t, "created", sent.Body.String())
	require.False(t, sent.Flushed)
}

func TestAHandlerHasEchosParametersBodyAndContext(t *testing.T) {
	t.Parallel()
	outer := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error { c.Set("account", "alice"); return next(c) }
	}
	s := newShop(t, func(c *echo.Context) error {
		var in struct{ Amount int }
		require.NoError(t, c.Bind(&in))
		require.Equal(t, 1, in.Amount)
		require.Equal(t, "7", c.Param("id"))
		require.Equal(t, "/orders/:id", c.Path())
		require.Equal(t, "alice", c.Get("account"))
		return c.NoContent(http.StatusNoContent)
	}, []echo.MiddlewareFunc{outer})
	for range 2 {
		answer := s.order("k")
		require.Equal(t, http.StatusNoContent, answer.Code)
		require.Zero(t, answer.Body.Len())
	}
	require.Equal(t, 1, s.runs)
}
