package migrate_test

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/gateway/migrate"
	"github.com/onlyonce/onlyonce/internal/pgtest"
)

func TestASchemaIsMigratedOnceByWhoeverComes(t *testing.T) {
	t.Parallel()
	schema, url := pgtest.EmptySchema(t), pgtest.URL(t)
	before, err := backend.Open(t.Context(), url, backend.Options{Schema: schema})
	require.NoError(t, err)
	defer before.Close()
	require.Error(t, before.Check(t.Context()), "the table is not there yet")

	var logs [3]bytes.Buffer
	var group sync.WaitGroup
	for i := range logs {
		group.Go(func() {
			assert.NoError(t, migrate.Up(t.Context(), url, schema, slog.New(slog.NewTextHandler(&logs[i], nil))))
		})
	}
	group.Wait()
	migrated := 0
	for i := range logs {
		if bytes.Contains(logs[i].Bytes(), []byte("file=00001_")) {
			migrated++
		}
	}
	assert.Equal(t, 1, migrated, "how many have migrated")
	require.NoError(t, before.Check(t.Context()))
}

func TestWhatCannotBeMigratedIsToldWithoutSecrets(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	for _, url := range []string{"redis://:hunter2@host", "postgres://u:hunter2@host:port/x", "https://hunter2@x"} {
		err := migrate.Up(t.Context(), url, "", logger)
		require.ErrorContains(t, err, "cannot be read")
		assert.NotContains(t, err.Error(), "hunter2")
	}
	assert.ErrorContains(t, migrate.Up(t.Context(), pgtest.URL(t), "no such schema", logger), "does not exist")
}
