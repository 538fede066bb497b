package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// What the proxy costs beside a bare httputil.ReverseProxy, over loopback, with a store in memory: that of a database comes on top.
func BenchmarkRequest(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"status":"paid"}`)
	}))
	b.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	require.NoError(b, err)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	bare := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport}
	route := func(settings ...string) http.Handler {
		store, err := memstore.New(memstore.Config{MaxBytes: 4 << 30})
		require.NoError(b, err)
		config, err := proxy.Parse([]byte("log: {access: false}\n" + file(upstream.URL, settings...)))
		require.NoError(b, err)
		p, err := proxy.New(idempotency.Leaser(store), config, proxy.Options{Logger: quiet})
		require.NoError(b, err)
		return p
	}
	var keys atomic.Int64
	for _, c := range []struct {
		name    string
		handler http.Handler
	}{
		{"bare", bare}, {"unprotected", route("protect: off")}, {"protected", route()}, {"protected fresh", route("connections: fresh")},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
			defer client.CloseIdleConnections()
			b.SetParallelism(4)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r, _ := http.NewRequest(http.MethodPost, server.URL+"/payments", strings.NewReader(`{"amount":100}`))
					r.Header.Set("X-Account", "alice")
					r.Header.Set("Idempotency-Key", fmt.Sprint(keys.Add(1)))
					response, err := client.Do(r)
					if err != nil || response.StatusCode != http.StatusCreated {
						b.Error(err, response)
						return
					}
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
			})
		})
	}
}
