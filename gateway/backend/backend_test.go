package backend_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/idempotency"
)

func TestAURLThatCannotBeReadIsToldWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	for url, says := range map[string]string{
		"":                                  "no scheme",
		"hunter2":                           "no scheme",
		"hunter2:6379":                      "scheme is not known",
		"mysql://root:hunter2@db/x":         "scheme is not known",
		"postgres://u:hunter2@host:port/x":  "database URL cannot be read",
		"postgres://u:hunter2%zz@host/x":    "database URL cannot be read",
		"postgres://u:hunter2/@host:5432/x": "database URL cannot be read",
		"redis://:hunter2@host:port":        "Redis URL cannot be read",
		"redis://:hunter2@":                 "Redis URL cannot be read",
		"redis://:hunter2@h:1/x?nope=1":     "Redis URL cannot be read",
		"redis://:hunter2@h:1,h:2?nope=1":   "Redis URL cannot be read",
	} {
		_, err := backend.Open(t.Context(), url, backend.Options{})
		require.ErrorContains(t, err, says, url)
		assert.NotContains(t, err.Error(), "hunter2", url)
	}
	_, err := backend.Open(t.Context(), "memory:", backend.Options{Timeout: -time.Second})
	assert.ErrorContains(t, err, "Timeout")
}

func TestMemoryLendsKeys(t *testing.T) {
	t.Parallel()
	b, err := backend.Open(t.Context(), "memory:", backend.Options{})
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.Check(t.Context()))
	lease, record, err := b.Leaser.Acquire(t.Context(), idempotency.Key{Scope: "acme", Value: "k1"},
		idempotency.Terms{Owner: idempotency.NewOwnerToken(), Lease: time.Minute})
	require.NoError(t, err)
	assert.Nil(t, record)
	assert.Equal(t, 1, lease.Attempt)
	assert.Equal(t, "memory", b.Name)
}
