package pgstore_test

import (
	"context"
	"crypto/rand"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/pgstore"
)

const (
	// citusVariable is the URL of a Citus cluster's coordinator, in whose database schemas may be created.
	citusVariable = "ONLYONCE_TEST_CITUS_URL"
	// citusEntriesVariable are URLs of further entry nodes of it, separated by commas.
	citusEntriesVariable = "ONLYONCE_TEST_CITUS_ENTRY_URLS"
)

func TestStoreConformsOnCitus(t *testing.T) {
	t.Parallel()
	coordinator := os.Getenv(citusVariable)
	if coordinator == "" {
		t.Skipf("there is no Citus here: %s names a coordinator, and %s further entry nodes, separated by commas", citusVariable, citusEntriesVariable)
	}
	entries := []string{coordinator}
	for _, url := range strings.Split(os.Getenv(citusEntriesVariable), ",") {
		if url != "" {
			entries = append(entries, url)
		}
	}
	for _, lock := range locks {
		if lock == pgstore.LocalLock && len(entries) > 1 {
			continue // it excludes nobody who comes by another entry node
		}
		t.Run(string(lock), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				return citusSubject(t, lock, entries[0], entries[len(entries)-1])
			})
		})
	}
}

// citusSubject has its store at one entry node and the peer at another.
func citusSubject(t *testing.T, lock pgstore.Lock, entry, peer string) storetest.Subject {
	schema := "onlyonce_" + strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, t.Name()))
	schema = schema[:min(40, len(schema))] + "_" + strings.ToLower(rand.Text()[:12])
	pool := func(url string) *pgxpool.Pool {
		config, err := pgxpool.ParseConfig(url)
		require.NoError(t, err)
		config.MaxConns = 4
		config.ConnConfig.RuntimeParams["search_path"] = schema + ", public"
		require.NoError(t, pgstore.Configure(config, pgstore.PoolConfig{}))
		made, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(made.Close)
		return made
	}
	outside := pool(os.Getenv(citusVariable))
	do := func(sql string) {
		_, err := outside.Exec(context.Background(), sql)
		require.NoError(t, err, sql)
	}
	do(`CREATE SCHEMA ` + schema)
	t.Cleanup(func() { do(`DROP SCHEMA ` + schema + ` CASCADE`) })
	names, err := fs.Glob(migrations.FS, "*.sql")
	require.NoError(t, err)
	for _, name := range names {
		content, err := fs.ReadFile(migrations.FS, name)
		require.NoError(t, err)
		up, _, _ := strings.Cut(string(content), "-- +goose Down")
		do(up)
	}
	// Most keys of the suite are alice's, and so her effects are in the shard of her keys.
	do(`CREATE TABLE effects (name text NOT NULL, scope text COLLATE "C" NOT NULL DEFAULT 'alice')`)
	do(`SELECT create_distributed_table('idempotency_keys', 'scope')`)
	do(`SELECT create_distributed_table('effects', 'scope', colocate_with => 'idempotency_keys')`)
	open := func(url string) *pgstore.Store {
		store, err := pgstore.NewWithConfig(pool(url), pgstore.Config{Schema: schema, Lock: lock})
		require.NoError(t, err)
		require.NoError(t, store.Check(t.Context()))
		return store
	}
	s := subjectOn(outside, "idempotency_keys")
	s.Store, s.Peer = open(entry), open(peer)
	return s
}
