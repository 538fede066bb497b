package proxy_test

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/leased"
	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
)

func TestTheSamePathOfTwoHostsIsTwoOperations(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		pattern  string
		settings []string
		apart    bool
	}{
		"patterns with hosts":      {`["a.example/", "b.example/"]`, nil, true},
		"the client's host passes": {"[/]", []string{"host: preserve"}, true},
		"one upstream for all":     {"[/]", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, says(created))
			config, err := proxy.Parse([]byte(strings.Replace(file(up.url(), tt.settings...), "[/]", tt.pattern, 1)))
			require.NoError(t, err)
			g := front(t, newClocked(t), config)
			post := func(host string) answer {
				r := g.request("k", "{}")
				r.Host = host
				return g.send(r)
			}
			first := post("a.example").is(http.StatusCreated, "paid")
			if tt.apart {
				require.Equal(t, http.StatusUnprocessableEntity, post("b.example").status)
			} else {
				post("b.example").replays(first)
			}
			up.hasEffects(1)
		})
	}
}

func TestWhatTellsRequestsApartAndWhatKeysMayBe(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says("HTTP/1.1 201 Created\r\nX-Id: 7\r\nContent-Length: 4\r\nConnection: close\r\n\r\npaid"))
	g := front(t, newClocked(t), configured(t, up.url(),
		"fingerprint_headers: [X-Version]", "canonical_json: true", "replay_headers: [X-Id]", "key_format: uuid", "methods: [PUT, POST]", "attempt_header: ''"))
	const key = "123e4567-e89b-12d3-a456-426614174000"
	require.Equal(t, http.StatusBadRequest, g.post("k", "{}").status)
	up.hasEffects(0)
	first := g.post(key, `{"a":1,"b":2}`).is(http.StatusCreated, "paid")
	require.Empty(t, <-up.attempts, "the header was switched off")
	again := g.post(key, `{"b":2, "a":1}`)
	again.replays(first)
	require.Equal(t, "7", again.header.Get("X-Id"))
	version := g.request(key, `{"a":1,"b":2}`)
	version.Header.Set("X-Version", "2")
	require.Equal(t, http.StatusUnprocessableEntity, g.send(version).status)
	put := func() answer {
		r := g.request(strings.Replace(key, "1", "2", 1), "{}")
		r.Method = http.MethodPut
		return g.send(r)
	}
	first = put().is(http.StatusCreated, "paid")
	put().replays(first)
	up.hasEffects(2)

	g = front(t, newClocked(t), configured(t, up.url(), "min_key_length: 4"))
	require.Equal(t, http.StatusBadRequest, g.post("abc", "{}").status)
	require.Equal(t, http.StatusCreated, g.post("abcd", "{}").status)
}

func TestWhatIsStoredIsSealedWhereThereAreKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	keys, mac := filepath.Join(dir, "keys"), filepath.Join(dir, "mac")
	require.NoError(t, os.WriteFile(keys, []byte("2026:"+base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600))
	require.NoError(t, os.WriteFile(mac, []byte(strings.Repeat("m", 32)), 0o600))
	up, lender := newUpstream(t, says(created)), newClocked(t)
	plain := front(t, lender, configured(t, up.url()))
	before := plain.post("before", "{}").is(http.StatusCreated, "paid")
	top := "sealing: {keys_file: " + keys + ", mixed: true}\n"
	sealed := front(t, lender, scoped(t, up.url(), "{from: header, header: X-Account}", top))
	first := sealed.post("k", "{}").is(http.StatusCreated, "paid")
	sealed.post("k", "{}").replays(first)
	sealed.post("before", "{}").replays(before)
	record, err := lender.Lookup(t.Context(), idempotency.Key{Scope: "alice", Value: "k"})
	require.NoError(t, err)
	require.NotContains(t, string(record.Response.Body), "paid")
	strict := front(t, lender, scoped(t, up.url(), "{from: header, header: X-Account}", strings.Replace(top, "true", "false", 1)))
	require.Equal(t, http.StatusInternalServerError, strict.post("before", "{}").status)

	signed := front(t, lender, scoped(t, up.url(), "{from: header, header: X-Account}", "fingerprint: {secret_files: ["+mac+"]}\n"))
	signed.post("signed", "{}").is(http.StatusCreated, "paid")
	require.Equal(t, http.StatusUnprocessableEntity, plain.post("signed", "{}").status, "it was compared without the secret")
	up.hasEffects(3)
}

// A process that was stopped between its claim and its request must not send what another one may be sending by now.
func TestWhatComesTooLateIsNotSent(t *testing.T) {
	t.Parallel()
	up, lender := newUpstream(t, says(created)), newClocked(t)
	store, err := leased.New(lender, leased.Config{Lease: 400 * time.Millisecond}) // less than what is left for the store
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: nethttp.SharedScope})
	require.NoError(t, err)
	handler, err := proxy.Front(up.url(), nil, protect)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	g := &gateway{t, server, nil}
	for range 2 {
		late := g.post("k", "{}")
		late.problem(http.StatusBadGateway, proxy.CodeUnreachable)
		require.Equal(t, "onlyonce; error=proxy_internal_error", late.header.Get("Proxy-Status"), "it is not the upstream's fault")
	}
	up.hasEffects(0)
}
