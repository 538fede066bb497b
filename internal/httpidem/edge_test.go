package httpidem_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

func edge(t *testing.T, options httpidem.Options) *httpidem.Edge {
	t.Helper()
	e, err := httpidem.NewEdge(options)
	require.NoError(t, err)
	return e
}

func TestAnEdgeChecksItsOptionsAsRulesDo(t *testing.T) {
	t.Parallel()
	for says, options := range map[string]httpidem.Options{
		"Methods": {Methods: []string{"post"}}, "Headers": {Headers: []string{"a b"}}, "FingerprintHeaders": {FingerprintHeaders: []string{""}},
		"must not be replayed": {ReplayHeaders: []string{"Set-Cookie"}}, "MaxRequestBytes": {MaxRequestBytes: -1},
	} {
		_, err := httpidem.NewEdge(options)
		assert.ErrorContains(t, err, says)
	}
	e := edge(t, httpidem.Options{})
	assert.True(t, e.Protects("POST"))
	assert.False(t, e.Protects("GET"))
	assert.Equal(t, 1<<20, e.MaxRequestBytes())
}

func TestTheKeyAtAnEdge(t *testing.T) {
	t.Parallel()
	with := func(values ...string) http.Header { return http.Header{"Idempotency-Key": values} }
	_, err := edge(t, httpidem.Options{}).Key(nil)
	require.ErrorIs(t, err, idempotency.ErrKeyMissing)
	optional := edge(t, httpidem.Options{Optional: true, MaxKeyBytes: 4, Validate: httpidem.MinLength(2)})
	key, err := optional.Key(nil)
	require.NoError(t, err)
	assert.Empty(t, key)
	key, err = optional.Key(with(`"k 1"`))
	require.NoError(t, err)
	assert.Equal(t, "k 1", key)
	for _, header := range []http.Header{with(""), with("a,b"), with("ab", "ab"), with("abcde"), with("a")} {
		_, err = optional.Key(header)
		assert.ErrorIs(t, err, idempotency.ErrKeyInvalid, header)
	}
}

func TestTheIdentityAtAnEdgeKnowsAnEarlierSecret(t *testing.T) {
	t.Parallel()
	secrets := [][]byte{[]byte(strings.Repeat("a", 16)), []byte(strings.Repeat("b", 16))}
	of := func(secrets ...[]byte) idempotency.Identity {
		fingerprinter, err := idempotency.NewFingerprinter(idempotency.FingerprintConfig{Secrets: secrets})
		require.NoError(t, err)
		r := &http.Request{Method: "POST", URL: &url.URL{Path: "/a"}, RequestURI: "/a", Header: http.Header{}}
		return edge(t, httpidem.Options{Fingerprinter: fingerprinter}).Identity(r, []byte("body"))
	}
	before, after := of(secrets[0]), of(secrets[1], secrets[0])
	assert.NotEqual(t, before.Fingerprint, after.Fingerprint)
	assert.True(t, after.Is(before.Fingerprint))
	assert.False(t, before.Is(after.Fingerprint))
}

func TestWhatAnEdgeStoresIsReplayed(t *testing.T) {
	t.Parallel()
	header := http.Header{"Location": {"/1"}, "Set-Cookie": {"a=b"}, "X-Receipt": {"r"}, "X-Other": {"o"}}
	response := edge(t, httpidem.Options{ReplayHeaders: []string{"x-receipt"}}).Response(201, header, []byte("body"))
	w := httptest.NewRecorder()
	httpidem.WriteReplay(w, response)
	assert.Equal(t, 201, w.Code)
	assert.Equal(t, "body", w.Body.String())
	assert.Equal(t, http.Header{"Location": {"/1"}, "X-Receipt": {"r"}, "Idempotent-Replayed": {"true"}}, w.Header())

	response.Header = []byte("Location: /1\r\nbroken\r\n")
	w = httptest.NewRecorder()
	httpidem.WriteReplay(w, response)
	assert.Equal(t, 500, w.Code)
	assert.Contains(t, w.Body.String(), "record-unreadable")
	assert.Empty(t, w.Header().Get("Location"))
}
