package plugin_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
)

// A route may move from Kong to a proxy, or into the service, while keys are alive.
func TestAFingerprintIsThatOfTheMiddleware(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	chosen := []string{"X-Version", "Host", "X-Absent", "Accept"}
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: nethttp.SharedScope, FingerprintHeaders: chosen, Methods: []string{"POST", "PUT"}})
	require.NoError(t, err)
	server := httptest.NewServer(protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })))
	defer server.Close()

	for i, c := range []struct {
		method, target, line string // line: the target as it is sent, where it differs
		header               []string
		body                 string
	}{
		{"POST", "/", "", nil, ""},
		{"POST", "/v1/payments", "", []string{"Content-Type: application/json"}, `{"a": 1}`},
		{"PUT", "/v1/payments?b=2&a=1&a=%20", "", []string{"Content-Type: Application/JSON ; charset=utf-8"}, `{"a": 1}`},
		{"POST", "/a%2Fb/%7Ec//d/../e?", "", nil, "x"},
		{"POST", "/caf%C3%A9?q=%zz", "", nil, "x"},
		{"POST", "/a?b?c#d", "", nil, "x"},
		{"POST", "/a;b=c/d%3Be", "", nil, "x"},
		{"POST", "/v1/payments?x=1", "http://else.where:81/v1/payments?x=1", nil, "x"},
		{"POST", "/v1", "", []string{"X-Version: 2", "X-Version: 3", "Accept: a", "X-Other: 1"}, "x"},
		{"POST", "/v1", "", []string{"Accept: \xe9"}, "\x00\xff"},
		{"POST", "/v1", "", []string{"Content-Type: text/plain", "Content-Type: text/html"}, strings.Repeat("long", 10_000)},
	} {
		key := fmt.Sprintf("key-%d", i)
		host := strings.TrimPrefix(server.URL, "http://")
		line := c.line
		if line == "" {
			line = c.target
		} else { // such a line says the host
			host = "else.where:81"
		}
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s",
			c.method, line, host, key, len(c.body), strings.Join(append(c.header, ""), "\r\n"), c.body)
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, c.target)
		_, _ = io.Copy(io.Discard, response.Body)
		_ = conn.Close()
		require.Equal(t, 201, response.StatusCode, c.target)

		w := begin(t, &plugin.Config{ScopeSource: "shared", FingerprintHeaders: chosen, Methods: []string{"POST", "PUT"}})
		request := kongtest.Request{Method: c.method, Target: c.target, Body: []byte(c.body), InFile: len(c.body) > 8000,
			Header: map[string][]string{"idempotency-key": {key}, "host": {host}}}
		for _, header := range c.header {
			name, value, _ := strings.Cut(header, ": ")
			name = strings.ToLower(name)
			request.Header[name] = append(request.Header[name], value)
		}
		require.True(t, w.do(request).Passed, c.target)

		at := idempotency.Key{Scope: idempotency.SharedScope, Value: key}
		theirs, err := store.Lookup(t.Context(), at)
		require.NoError(t, err)
		require.NotNil(t, theirs, c.target)
		ours, err := w.store.Lookup(t.Context(), at)
		require.NoError(t, err)
		assert.Equal(t, theirs.Fingerprint, ours.Fingerprint, c.target)
		assert.NotZero(t, ours.Fingerprint)
	}
}
