package fasthttpidem_test

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
	"github.com/onlyonce/onlyonce/internal/httpidem"
	"github.com/onlyonce/onlyonce/memstore"
)

// payment is a request whose every part is as long as that of another payment.
func payment(who string) string {
	body := `{"payment":"` + who + `"}`
	return fmt.Sprintf("POST /payments/%s?by=%s HTTP/1.1\r\nHost: %s.test\r\nContent-Type: text/%s\r\nX-Account: %s\r\nIdempotency-Key: key-of-%s\r\n"+
		"X-Channel: %s\r\nAccept: */%s\r\nContent-Length: %d\r\n\r\n%s", who, who, who, who, who, who, who, who, len(body), body)
}

// receive has request lie where the one before it lay, as it does on a connection.
func receive(t *testing.T, fctx *fasthttp.RequestCtx, request string) {
	t.Helper()
	fctx.Request.Reset()
	fctx.Response.Reset()
	require.NoError(t, fctx.Request.Read(bufio.NewReader(strings.NewReader(request))))
}

// memory is b as fasthttp's users get it, who do not copy.
func memory(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func newContext() *fasthttp.RequestCtx {
	fctx := new(fasthttp.RequestCtx)
	fctx.Init2(nil, nil, false)
	return fctx
}

type service struct {
	*testing.T
	rules *httpidem.Rules
	store *memstore.Store
	byKey bool // a function finds the key
}

func newService(t *testing.T, byKey bool) *service {
	t.Helper()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	rules, err := httpidem.NewRules(engine, httpidem.Options{FingerprintHeaders: []string{"X-Channel", "Host"}})
	require.NoError(t, err)
	return &service{t, rules, store, byKey}
}

func (s *service) serve(fctx *fasthttp.RequestCtx, next func(ctx context.Context) error) (status int, body string) {
	s.Helper()
	call := fasthttpidem.Call{
		Rules: s.rules, Ctx: fctx, Context: context.Background(), Next: next,
		Scope: func() (string, error) { return memory(fctx.Request.Header.Peek("X-Account")), nil },
	}
	if s.byKey {
		call.Key = func([]byte) (string, error) { return memory(fctx.Request.Header.Peek("Idempotency-Key")), nil }
	}
	require.NoError(s, fasthttpidem.Serve(call))
	return fctx.Response.StatusCode(), string(fctx.Response.Body())
}

// A handler may run on where nobody waits for it any more, and what is stored is stored for longer than any request lives.
func TestWhatIsKeptStaysAsItWasWhenTheMemoryIsUsedAgain(t *testing.T) {
	t.Parallel()
	for name, byKey := range map[string]bool{"a key in a header": false, "a key that a function finds": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, fctx := newService(t, byKey), newContext()
			runs := 0
			pay := func(fails bool) func(ctx context.Context) error {
				return func(ctx context.Context) error {
					runs++
					who := string(fctx.Request.Header.Peek("X-Account"))
					receive(t, fctx, payment("mallory")) // while this one is still at work
					_, err := idempotency.Atomic(ctx, "begun", func(context.Context) (string, error) { return who, nil })
					require.NoError(t, err)
					if fails {
						fctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
					} else {
						fctx.SetBodyString("paid by " + who)
					}
					return nil
				}
			}
			receive(t, fctx, payment("charlie"))
			status, _ := s.serve(fctx, pay(true))
			require.Equal(t, fasthttp.StatusServiceUnavailable, status)

			found, err := s.store.Pending(t.Context(), idempotency.Due{Limit: 9, MaxCompletions: 9, Backoff: time.Nanosecond, MaxBackoff: time.Nanosecond})
			require.NoError(t, err)
			require.Len(t, found.Keys, 1)
			require.Equal(t, idempotency.Key{Scope: "charlie", Value: "key-of-charlie"}, found.Keys[0].Key)
			require.NotContains(t, string(found.Keys[0].Request), "mallory")
			for _, part := range []string{"/payments/charlie?by=charlie", "charlie.test", "text/charlie", "*/charlie", `{"payment":"charlie"}`} {
				require.Contains(t, string(found.Keys[0].Request), part)
			}

			receive(t, fctx, payment("charlie"))
			status, body := s.serve(fctx, pay(false))
			require.Equal(t, fasthttp.StatusOK, status, body)
			require.Equal(t, "paid by charlie", body)
			require.Equal(t, 2, runs)
			for _, who := range []string{"mallory", "charlie", "mallory", "charlie"} {
				receive(t, fctx, payment(who))
				status, body := s.serve(fctx, pay(false))
				require.Equal(t, fasthttp.StatusOK, status, body)
				require.Equal(t, "paid by "+who, body)
			}
			require.Equal(t, 3, runs)
		})
	}
}

func TestAResponseIsAsItWasWhereNothingCameOfIt(t *testing.T) {
	t.Parallel()
	s, fctx := newService(t, false), newContext()
	fctx.Request.Reset()
	receive(t, fctx, payment("charlie"))
	fctx.Response.Header.Set("X-Outer", "set")
	fctx.Response.Header.SetContentType("text/outer")
	fctx.SetStatusCode(fasthttp.StatusTeapot)
	fctx.SetBodyString("outer")
	require.PanicsWithValue(t, "boom", func() {
		s.serve(fctx, func(context.Context) error {
			fctx.Response.Header.Del("X-Outer")
			fctx.Response.Header.Set("X-Inner", "set")
			fctx.SetBodyString("a longer one than before")
			panic("boom")
		})
	})
	require.Equal(t, fasthttp.StatusTeapot, fctx.Response.StatusCode())
	require.Equal(t, "outer", string(fctx.Response.Body()))
	require.Equal(t, "text/outer", string(fctx.Response.Header.ContentType()))
	require.Equal(t, "set", string(fctx.Response.Header.Peek("X-Outer")))
	require.Empty(t, fctx.Response.Header.Peek("X-Inner"))
}
