package service_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/memstore"
)

func handler(t *testing.T, config service.Config) http.Handler {
	t.Helper()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	h, err := service.New(store, config)
	require.NoError(t, err)
	return h
}

// claimAs claims a new key in the scope, and returns the status: 201 for whoever may.
func claimAs(t *testing.T, h http.Handler, scope string, change func(*http.Request)) int {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v1/claims", strings.NewReader(fmt.Sprintf(`{"idempotency_key":"k%d"}`, claims.Add(1))))
	r.Header.Set("X-Idempotency-Scope", scope)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

var claims atomic.Int64

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", token) }
}

func TestATokenMayUseItsScopes(t *testing.T) {
	t.Parallel()
	callers, err := service.ParseCallers("# tokens\n\nthe-old-token-of-all\n  the-new-token-of-all\nthe-token-of-two\tacme globex\n")
	require.NoError(t, err)
	h := handler(t, service.Config{Callers: callers})
	for token, statuses := range map[string][4]int{ // of two scopes, another one and none
		"Bearer the-old-token-of-all":  {201, 201, 201, 400},
		"bearer  the-new-token-of-all": {201, 201, 201, 400},
		"Bearer the-token-of-two":      {201, 201, 403, 400},
		"Bearer the-token-of-tw":       {401, 401, 401, 401},
		"Bearer the-token-of-two acme": {401, 401, 401, 401},
		"Bearer":                       {401, 401, 401, 401},
		"Basic the-old-token-of-all":   {401, 401, 401, 401},
		"Bearer # tokens":              {401, 401, 401, 401},
		"the-old-token-of-all":         {401, 401, 401, 401},
	} {
		var got [4]int
		for i, scope := range []string{"acme", "globex", "initech", ""} {
			got[i] = claimAs(t, h, scope, bearer(token))
		}
		assert.Equal(t, statuses, got, token)
	}
	assert.Equal(t, 401, claimAs(t, h, "acme", nil))
	assert.Equal(t, 401, claimAs(t, h, "acme", func(r *http.Request) {
		r.Header["Authorization"] = []string{"Bearer the-old-token-of-all", "Bearer the-old-token-of-all"}
	}))
}

func TestATokenOfTwoCallersIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	callers, err := service.ParseCallers("the-token-of-acme acme\nthe-token-of-globex globex\nthe-token-of-acme\n")
	require.NoError(t, err)
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	_, err = service.New(store, service.Config{Callers: callers})
	require.ErrorContains(t, err, "caller 3")
	assert.NotContains(t, err.Error(), "the-token")
}

func TestACertificateMayUseItsScopes(t *testing.T) {
	t.Parallel()
	spiffe, err := url.Parse("spiffe://mesh/checkout")
	require.NoError(t, err)
	shows := func(leaf *x509.Certificate) func(*http.Request) {
		return func(r *http.Request) {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
		}
	}
	named := handler(t, service.Config{Callers: []service.Caller{
		{Certificate: "kong", Scopes: []string{"acme"}}, {Certificate: "gateway.internal"}, {Certificate: "spiffe://mesh/checkout"},
	}})
	anyone := handler(t, service.Config{AnyCertificate: true})
	for name, c := range map[string]struct {
		change                func(*http.Request)
		acme, initech, anyone int
	}{
		"a common name":  {shows(&x509.Certificate{Subject: pkix.Name{CommonName: "kong"}}), 201, 403, 201},
		"a DNS name":     {shows(&x509.Certificate{DNSNames: []string{"gateway.internal"}}), 201, 201, 201},
		"a URI":          {shows(&x509.Certificate{URIs: []*url.URL{spiffe}}), 201, 201, 201},
		"somebody else":  {shows(&x509.Certificate{Subject: pkix.Name{CommonName: "kong2"}}), 401, 401, 201},
		"no certificate": {func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, 401, 401, 401},
		"an unverified one": {func(r *http.Request) {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "kong"}}}}
		}, 401, 401, 401},
		"a wrong token beside it": {func(r *http.Request) {
			shows(&x509.Certificate{DNSNames: []string{"gateway.internal"}})(r)
			bearer("Bearer a-token-of-nobody's")(r)
		}, 401, 401, 401},
	} {
		assert.Equal(t, []int{c.acme, c.initech, c.anyone},
			[]int{claimAs(t, named, "acme", c.change), claimAs(t, named, "initech", c.change), claimAs(t, anyone, "acme", c.change)}, name)
	}
}

func TestAConfigurationThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	for says, config := range map[string]service.Config{
		"nobody may call":           {},
		"either a token":            {Callers: []service.Caller{{Scopes: []string{"acme"}}}},
		"16 bytes or more":          {Callers: []service.Caller{{Token: "short"}}},
		"no white space":            {Callers: []service.Caller{{Token: "a token with white space"}}},
		"of two callers":            {Callers: []service.Caller{{Certificate: "a"}, {Certificate: "a"}}},
		"Config.Lease is":           {Anonymous: true, Lease: -1},
		"must not be longer":        {Anonymous: true, Lease: 2 * time.Hour},
		"Config.MaxRequestBytes":    {Anonymous: true, MaxRequestBytes: -1},
		"and Config.Retention must": {Anonymous: true, MaxRetention: time.Hour},
	} {
		_, err := service.New(store, config)
		assert.ErrorContains(t, err, says)
	}
	_, err = service.New(nil, service.Config{Anonymous: true})
	assert.ErrorContains(t, err, "leaser is nil")
	for text, says := range map[string]string{"": "no token", "# a comment": "no token", "ok-token-of-sixteen\nhunter2 acme": "line 2 has a token of 7 bytes"} {
		_, err := service.ParseCallers(text)
		require.ErrorContains(t, err, says)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

func TestRequestsAreCountedByWhatCameOfThem(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	w.claim("a-key-of-acme", "f")
	w.post("/v1/claims", `{"idempotency_key":"a-key-of-acme","request_fingerprint":"f"}`)
	w.clock.forward(2 * time.Minute)
	w.claim("a-key-of-acme", "f")
	w.send(http.MethodGet, "/nowhere", "")
	problems, err := testutil.GatherAndLint(w.registry)
	require.NoError(t, err)
	assert.Empty(t, problems)
	timed, err := testutil.GatherAndCount(w.registry, "onlyonce_operation_seconds")
	require.NoError(t, err)
	assert.Equal(t, 2, timed, "of a claim, and of none")
	require.NoError(t, testutil.GatherAndCompare(w.registry, strings.NewReader(`# HELP onlyonce_operations_in_flight Requests that are being answered.
# TYPE onlyonce_operations_in_flight gauge
onlyonce_operations_in_flight 0
# HELP onlyonce_operations_total Requests by operation (lock, claim, read, lookup, complete, release, extend, or none) and outcome (claimed, taken_over, completed, stored, repeated, released, extended, or a problem's code).
# TYPE onlyonce_operations_total counter
onlyonce_operations_total{operation="claim",outcome="claimed"} 1
onlyonce_operations_total{operation="claim",outcome="concurrent_process_error"} 1
onlyonce_operations_total{operation="claim",outcome="taken_over"} 1
onlyonce_operations_total{operation="none",outcome="route_unknown"} 1
`), "onlyonce_operations_total", "onlyonce_operations_in_flight"))
}
