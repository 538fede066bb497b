package backend_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/redisserver"
)

// lends checks that b can be used: a key that is lent is completed, and found.
func lends(t *testing.T, b *backend.Backend) {
	t.Helper()
	require.NoError(t, b.Check(t.Context()))
	key, owner := idempotency.Key{Scope: "acme", Value: "k1"}, idempotency.NewOwnerToken()
	lease, _, err := b.Leaser.Acquire(t.Context(), key, idempotency.Terms{Owner: owner, Lease: time.Minute})
	require.NoError(t, err)
	require.NotNil(t, lease)
	require.Equal(t, 1, lease.Attempt)
	_, err = b.Leaser.Settle(t.Context(), key, owner, &idempotency.Record{Response: idempotency.Response{Status: 201, Body: []byte("paid")}}, time.Hour)
	require.NoError(t, err)
	record, err := b.Leaser.Lookup(t.Context(), key)
	require.NoError(t, err)
	require.NotNil(t, record)
	require.Equal(t, "paid", string(record.Response.Body))
}

func open(t *testing.T, url string, options backend.Options) *backend.Backend {
	t.Helper()
	b, err := backend.Open(t.Context(), url, options)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func TestPostgresLendsKeysInTheSchemaThatIsNamed(t *testing.T) {
	t.Parallel()
	schema, address := pgtest.Schema(t), pgtest.URL(t)
	b := open(t, address, backend.Options{Schema: schema})
	lends(t, b)
	assert.Contains(t, b.Name, "schema "+schema)
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	if password, set := parsed.User.Password(); set {
		assert.NotContains(t, b.Name, password)
	}
	lends(t, open(t, pgtest.SchemaURL(t, pgtest.Schema(t)), backend.Options{BehindPooler: true}))
}

func TestRedisLendsKeys(t *testing.T) {
	t.Parallel()
	server, err := redisserver.Start(t.Context(), "--requirepass", "hunter2")
	if errors.Is(err, redisserver.ErrNoProgram) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	address := "redis://:hunter2@" + server.Address + "/0"
	b := open(t, address, backend.Options{AnyPersistence: true})
	lends(t, b)
	assert.NotContains(t, b.Name, "hunter2")
	lends(t, open(t, address, backend.Options{AnyPersistence: true, Prefix: "another"}))
	err = open(t, address, backend.Options{}).Check(t.Context())
	require.ErrorContains(t, err, "append-only")
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestAClusterIsNamedByItsAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"redis://user:hunter2@h1:1,h2:2,h3:3", "redis://user:hunter2@h1:1/?addr=h2:2&addr=h3:3", "rediss://user:hunter2@h1:1,h2:2,h3:3"} {
		assert.Equal(t, "Redis at h1:1,h2:2,h3:3", open(t, address, backend.Options{}).Name)
	}
	assert.Equal(t, "PostgreSQL at h1:1,h2:2/db", open(t, "postgres://u:hunter2@h1:1,h2:2/db", backend.Options{}).Name)
}

func TestAServiceLendsKeys(t *testing.T) {
	t.Parallel()
	const token = "a-token-of-the-tests"
	handler, err := service.New(open(t, "memory:", backend.Options{}).Leaser, service.Config{Callers: []service.Caller{{Token: token, Scopes: []string{"acme"}}}})
	require.NoError(t, err)
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	trust := server.Client().Transport.(*http.Transport).TLSClientConfig
	b := open(t, server.URL, backend.Options{Token: token, TLS: trust})
	lends(t, b)
	assert.NotContains(t, b.Name, token)

	err = open(t, server.URL, backend.Options{Token: "a-token-of-nobody's", TLS: trust}).Check(t.Context())
	require.ErrorContains(t, err, "unauthorized")
	assert.NotContains(t, err.Error(), "nobody's")
	require.ErrorIs(t, open(t, server.URL, backend.Options{Token: token, Timeout: time.Second}).Check(t.Context()), idempotency.ErrStoreUnavailable, "a certificate that is not trusted")
	for _, address := range []string{"https://", "https://user:hunter2@host", "http://host/?hunter2", "https://host\x7f/hunter2"} {
		_, err := backend.Open(t.Context(), address, backend.Options{})
		require.ErrorContains(t, err, "service's URL cannot be used", address)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}
