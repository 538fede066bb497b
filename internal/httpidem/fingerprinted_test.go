package httpidem_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
	"github.com/onlyonce/onlyonce/memstore"
)

// asked is a request by what tells it from others.
type asked struct {
	method, target, media, body string
	header                      http.Header
}

func (a asked) request() *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), a.method, a.target, strings.NewReader(a.body))
	for name, values := range a.header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", a.media)
	r.Header.Set("Idempotency-Key", "k")
	return r
}

func TestWhatTellsRequestsApart(t *testing.T) {
	t.Parallel()
	first := asked{method: "POST", target: "/orders/7?a=1", media: "text/plain", body: "x"}
	with := func(change func(a *asked)) asked { a := first; change(&a); return a }
	header := func(header http.Header) asked { return with(func(a *asked) { a.header = header }) }
	for _, c := range []struct {
		name string
		a, b asked
		same bool
	}{
		{"nothing", first, first, true},
		{"the method", first, with(func(a *asked) { a.method = "PATCH" }), false},
		{"the path", first, with(func(a *asked) { a.target = "/orders/8?a=1" }), false},
		{"an escaped slash", with(func(a *asked) { a.target = "/a%2Fb" }), with(func(a *asked) { a.target = "/a/b" }), false},
		{"the query", first, with(func(a *asked) { a.target = "/orders/7?a=2" }), false},
		{"the body", first, with(func(a *asked) { a.body = "y" }), false},
		{"no body", first, with(func(a *asked) { a.body = "" }), false},
		{"the media type", first, with(func(a *asked) { a.media = "application/json" }), false},
		{"the media type's case and parameters", first, with(func(a *asked) { a.media = "Text/Plain ; charset=utf-8" }), true},
		{"the host", first, with(func(a *asked) { a.target = "http://other.example/orders/7?a=1" }), true},
		{"a header that is not chosen", first, header(http.Header{"X-Trace": {"1"}}), true},
		{"a chosen header", header(http.Header{"X-A": {"1"}}), header(http.Header{"X-A": {"2"}}), false},
		{"a chosen header that is absent", first, header(http.Header{"X-A": {"1"}}), false},
		{"a chosen header that is empty", first, header(http.Header{"X-A": {""}}), false},
		{"one value or two", header(http.Header{"X-A": {"1", "2"}}), header(http.Header{"X-A": {"1, 2"}}), false},
		{"whose value it is", header(http.Header{"X-A": {"1"}}), header(http.Header{"X-B": {"1"}}), false},
		{"a value that is a header's name", header(http.Header{"X-A": {"X-B"}}), header(http.Header{"X-B": {"X-B"}}), false},
		{
			"a value that is a header's name and more", header(http.Header{"X-A": {"X-B", "1"}, "X-B": nil}),
			header(http.Header{"X-A": nil, "X-B": {"1", "X-B"}}), false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store, err := memstore.New(memstore.Config{})
			require.NoError(t, err)
			engine, err := idempotency.New(store, idempotency.Config{})
			require.NoError(t, err)
			rules, err := httpidem.NewRules(engine, httpidem.Options{FingerprintHeaders: []string{"x-a", "X-B"}})
			require.NoError(t, err)
			serve := func(a asked) int {
				w := httptest.NewRecorder()
				require.NoError(t, rules.Serve(httpidem.Call{
					Writer: w, Request: a.request(), Scope: "s",
					Next: func(*httpidem.Recorder, *http.Request) error { return nil },
				}))
				return w.Code
			}
			require.Equal(t, http.StatusOK, serve(c.a))
			want := http.StatusUnprocessableEntity
			if c.same {
				want = http.StatusOK
			}
			require.Equal(t, want, serve(c.b))
		})
	}
}
