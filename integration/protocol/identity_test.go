package protocol

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
	"github.com/onlyonce/onlyonce/nethttp"
)

func TestLocksAndForeignKeysHaveOneNumberInBothLanguages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	letters := []rune(`abc:/,'"\ ü💸0`)
	text := func() string {
		b := strings.Builder{}
		for range rand.IntN(60) {
			b.WriteRune(letters[rand.IntN(len(letters))])
		}
		return b.String()
	}
	for range 300 {
		namespace, key, point := text(), idempotency.Key{Scope: text(), Value: text()}, text()
		var number int64
		var foreign string
		require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT idempotency_lock($1, $2, $3), idempotency_foreign_key($1, $2, $4)`,
			key.Scope, key.Value, namespace, point).Scan(&number, &foreign))
		require.Equal(t, keytable.LockOf(namespace, key), number)
		require.Equal(t, idempotency.ForeignKey(key, point), foreign)
	}
}

// The row that the middleware writes has the fingerprint.
// One that left it out would be the same for two requests that are not.
func TestThereIsNoFingerprintOfANULL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, arguments := range []string{`NULL, '/p'`, `'POST', NULL`, `'POST', '/p', headers => '{X-A,1,NULL}'`} {
		require.Equal(t, 1, w.count(`SELECT count(*) WHERE idempotency_fingerprint(`+arguments+`) IS NULL`), arguments)
	}
	require.Equal(t, 1, w.count(`SELECT count(*) WHERE idempotency_fingerprint('POST', '/p', NULL, NULL, NULL, NULL) = idempotency_fingerprint('POST', '/p')`))
}

func TestAFingerprintHasTheBytesOfTheHTTPAdapters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, c := range []struct {
		method, target, media, body string
		header                      http.Header
		prefix                      string
	}{
		{method: "POST", target: "/payments"},
		{method: "PATCH", target: "/payments/7?a=1&b=%20c", media: "application/json", body: `{"amount":10}`},
		{method: "POST", target: "/a%2Fb", media: "Text/Plain ; charset=utf-8", body: "ü\x00\xff"},
		{method: "POST", target: "/?", media: " application/x "},
		{method: "POST", target: "/v1/payments", prefix: "/v1", body: "x"},
		{method: "POST", target: "/payments", header: http.Header{"X-A": {"1", "two"}, "X-C": {""}}},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			headers := []string{"X-A", "X-B", "X-C"}
			config := nethttp.Config{Scope: func(*http.Request) (string, error) { return "alice", nil }}
			flat := []string{}
			if c.header != nil {
				config.FingerprintHeaders = headers
				for _, name := range headers {
					flat = append(append(flat, name, fmt.Sprint(len(c.header[name]))), c.header[name]...)
				}
			}
			protect, err := nethttp.Middleware(w.engine, config)
			require.NoError(t, err)
			handler := protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
			if c.prefix != "" {
				handler = http.StripPrefix(c.prefix, handler)
			}
			r := httptest.NewRequestWithContext(context.Background(), c.method, c.target, strings.NewReader(c.body))
			for name, values := range c.header {
				r.Header[name] = values
			}
			if c.media != "" {
				r.Header.Set("Content-Type", c.media)
			}
			key := fmt.Sprint(w.schema, i)
			r.Header.Set("Idempotency-Key", key)
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, r)
			require.Equal(t, http.StatusCreated, answer.Code, answer.Body)

			path, query, _ := strings.Cut(c.target, "?")
			var routed any
			if c.prefix != "" {
				routed = strings.TrimPrefix(path, c.prefix)
			}
			require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE key = $1
				AND fingerprint = idempotency_fingerprint($2, $3, $4, $5, $6, $7, $8)`, key, c.method, path, query, c.media, []byte(c.body), flat, routed))
		})
	}
}
