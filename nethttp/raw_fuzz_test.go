package nethttp_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
	"github.com/onlyonce/onlyonce/internal/httpidem"
	"github.com/onlyonce/onlyonce/nethttp"
)

func protected(t *testing.T, config nethttp.Config, handler http.HandlerFunc) (http.Handler, *httpcontract.Memory) {
	t.Helper()
	store, err := httpcontract.NewMemory()
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	config.Scope = nethttp.SharedScope
	protect, err := nethttp.Middleware(engine, config)
	require.NoError(t, err)
	return protect(handler), store
}

// Whatever comes over a connection: a key's handler runs at most once, what was answered is replayed to whoever says the same again,
// and nothing is the server's own fault.
func FuzzARawRequest(f *testing.F) {
	const head = "POST /payments HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\n"
	for _, seed := range []string{
		"", "\r\n", head + "\r\n", head + "Content-Length: 2\r\n\r\n{}", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n",
		head + "Content-Length: 3\r\n\r\n{}", head + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
		head + "Content-Length: 99999999\r\n\r\n{}", head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		head + "\r\n" + head + "Content-Length: 1\r\n\r\nx" + head + "\r\n", "POST * HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"k\";a=1\r\n\r\n",
		"POST http://a?b=c HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\n\r\n", "PATCH //a%2e/../b?c;d&e=%zz HTTP/1.0\r\nIdempotency-Key: k\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key:\r\n k\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		runs := map[string]int{}
		var all atomic.Int64
		handler, _ := protected(t, nethttp.Config{MaxRequestBytes: 1000}, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost && r.Method != http.MethodPatch {
				return
			}
			key, err := httpidem.ParseKey(r.Header["Idempotency-Key"])
			assert.NoError(t, err, "a request without a good key was run")
			runs[key]++
			all.Add(1)
			assert.Equal(t, 1, runs[key], "runs of one key")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte("paid"))
		})
		first, before := play(t, handler, said), all.Load()
		again := play(t, handler, said)
		require.Equal(t, before, all.Load(), "the same bytes ran something anew")
		const paid, replayed = " 201 Created\r\n", "\r\nIdempotent-Replayed: true\r\n"
		require.Equal(t, strings.Count(first, paid), strings.Count(again, paid))
		require.Equal(t, strings.Count(again, paid), strings.Count(again, replayed))
		require.EqualValues(t, before, strings.Count(first, paid)-strings.Count(first, replayed))
		for _, fault := range []string{" 500 ", " 503 ", " 409 "} {
			require.NotContains(t, first+again, "HTTP/1.1"+fault)
			require.NotContains(t, first+again, "HTTP/1.0"+fault)
		}
	})
}
