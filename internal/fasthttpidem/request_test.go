package fasthttpidem_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
)

// What net/http would make of the same bytes is what the rules are written for.
func TestARequestIsWhatNetHTTPMakesOfIt(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a payment":       payment("charlie"),
		"no body":         "POST /payments HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"an empty body":   "POST /payments HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
		"chunks":          "POST /payments HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"trailers":        "POST /payments HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nX-Sum: 1\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 2\r\nX-Sum: 3\r\n\r\n",
		"HTTP/1.0":        "POST /payments HTTP/1.0\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
		"lists":           "POST / HTTP/1.1\r\nHost: a.test\r\nLink: </a>\r\nlink: </b>\r\nX-Empty:\r\nX-Other: x\r\nCookie: a=1; b=2\r\n\r\n",
		"as proxies ask":  "POST http://user@b.test:81/payments?a=1 HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"escapes":         "POST /caf%C3%A9/a%2Fb/%41;v=1/c+d?b=2&a=%20&&c;d HTTP/1.1\r\nHost: A.test:80\r\n\r\n",
		"an empty query":  "POST /payments? HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"like a host":     "POST //b.test/payments HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"no path":         "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"another charset": "PATCH /payments HTTP/1.1\r\nHost: a.test\r\nContent-Type: Text/Plain; charset=latin1\r\nContent-Length: 1\r\n\r\n\xff",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
			require.NoError(t, err)
			wantBody, err := io.ReadAll(want.Body)
			require.NoError(t, err)
			want.Header.Del("Content-Length")

			fctx := newContext()
			receive(t, fctx, text)
			got := fasthttpidem.NewRequest(fctx, context.Background())
			gotBody, err := io.ReadAll(got.Body)
			require.NoError(t, err)
			require.Equal(t, string(wantBody), string(gotBody))
			require.EqualValues(t, len(wantBody), got.ContentLength)
			require.Equal(t, want.Method, got.Method)
			require.Equal(t, want.RequestURI, got.RequestURI)
			require.Equal(t, want.URL, got.URL)
			require.Equal(t, want.Host, got.Host)
			require.Equal(t, want.Proto, got.Proto)
			require.Equal(t, want.ProtoMinor, got.ProtoMinor)
			require.Equal(t, want.Header, got.Header)
			if len(want.Trailer)+len(got.Trailer) > 0 {
				require.Equal(t, want.Trailer["X-Sum"][len(want.Trailer["X-Sum"])-1], got.Trailer["X-Sum"][len(got.Trailer["X-Sum"])-1])
			}
		})
	}
}

func TestATargetThatIsNoneHasABodyThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"payments", "/payments%zz", "://"} {
		fctx := newContext()
		receive(t, fctx, "POST "+target+" HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\n{}")
		_, err := io.ReadAll(fasthttpidem.NewRequest(fctx, context.Background()).Body)
		require.ErrorContains(t, err, "request-unreadable", target)
	}
}

// What middleware has added to a request that came in chunks cannot be told from a trailer, unless it has replaced what was there.
func TestWhatMiddlewareSetsIsPartOfTheRequest(t *testing.T) {
	t.Parallel()
	fctx := newContext()
	receive(t, fctx, payment("charlie"))
	fctx.Request.Header.Set("X-Channel", "set")
	fctx.Request.Header.Set("X-New", "set")
	fctx.Request.Header.Del("Accept")
	fctx.Request.SetBodyString("another body")
	r := fasthttpidem.NewRequest(fctx, context.Background())
	require.Equal(t, []string{"set"}, r.Header["X-Channel"])
	require.Equal(t, []string{"set"}, r.Header["X-New"])
	require.Empty(t, r.Header["Accept"])
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "another body", string(body))
	require.EqualValues(t, len(body), r.ContentLength)
}

func TestTheBridgeCarriesWhatNetHTTPHasFoundOut(t *testing.T) {
	t.Parallel()
	type key struct{}
	var seen *http.Request
	handler := fasthttpidem.Handler(func(fctx *fasthttp.RequestCtx) {
		seen = fasthttpidem.NewRequest(fctx, context.Background())
		require.Equal(t, "/inner?a=1", string(fctx.Request.Header.RequestURI()))
		require.Equal(t, "192.0.2.1:1234", fctx.RemoteAddr().String())
		require.Equal(t, "outer", string(fctx.Response.Header.Peek("X-Outer")))
		fctx.Response.Header.Del("X-Outer")
		fctx.Response.Header.Add("Link", "</a>")
		fctx.Response.Header.Add("Link", "</b>")
		fctx.SetStatusCode(fasthttp.StatusAccepted)
		fctx.SetBodyStream(strings.NewReader("streamed"), -1)
	})
	r := httptest.NewRequest(http.MethodPost, "/outer/inner?a=1", strings.NewReader("{}"))
	r.URL.Path = "/inner" // as http.StripPrefix does it
	r = r.WithContext(context.WithValue(r.Context(), key{}, "value"))
	w := httptest.NewRecorder()
	w.Header().Set("X-Outer", "outer")
	handler.ServeHTTP(w, r)
	require.Equal(t, "/outer/inner?a=1", seen.RequestURI)
	require.Equal(t, "/inner", seen.URL.Path)
	require.Equal(t, "value", seen.Context().Value(key{}))
	require.Equal(t, http.StatusAccepted, w.Code)
	require.Equal(t, "streamed", w.Body.String())
	require.Equal(t, http.Header{"Link": {"</a>", "</b>"}}, w.Header())
}
