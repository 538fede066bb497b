package pgstore_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// hostileSchemas are what could stand in a configuration, each with a part of own's name in it.
func hostileSchemas(own string) map[string]string {
	own = own[len(own)-8:]
	return map[string]string{
		"quotes":                 own + `"'"''""`,
		"a statement":            own + `"; DROP TABLE effects; --`,
		"a statement in a text":  own + `'; DROP TABLE effects; --`,
		"a comment":              own + `/*--*/`,
		"semicolons and spaces":  ` ; ` + own + ` ; `,
		"dots":                   own + `.public.idempotency_keys`,
		"parameters":             own + `$1 $$ $2 %s {table} {literal} {whole}`,
		"backslashes":            `\` + own + `\'; DROP TABLE effects; --\`,
		"Unicode":                own + "ünï \"💸\" \u202e\u0301",
		"line breaks and others": own + "\r\n\t\x01\x7f",
		"63 bytes":               own + strings.Repeat("x", 63-len(own)),
		"63 bytes of quotes":     own + strings.Repeat(`"`, 63-len(own)),
		"what ends a statement":  `SELECT 1 / count(*) FROM saved clock_timestamp() ` + own,
		"a keyword":              `SELECT ` + own,
		"capitals":               strings.ToUpper(own) + "A",
	}
}

// hostile makes the schema, with the table in it. w's own schema is the search_path: its table must not be touched.
func (w *world) hostile(schema string) (quoted string) {
	w.t.Helper()
	quoted = pgx.Identifier{schema}.Sanitize()
	for _, sql := range []string{`CREATE SCHEMA ` + quoted, `CREATE TABLE ` + quoted + `.idempotency_keys (LIKE idempotency_keys INCLUDING ALL)`} {
		_, err := w.pool.Exec(w.t.Context(), sql)
		require.NoError(w.t, err)
	}
	w.t.Cleanup(func() {
		_, err := w.pool.Exec(context.Background(), `DROP SCHEMA `+quoted+` CASCADE`)
		require.NoError(w.t, err)
	})
	return quoted
}

func TestEveryOperationWorksInASchemaOfAnyName(t *testing.T) {
	t.Parallel()
	for name := range hostileSchemas("12345678") {
		for setting, off := range map[string][]string{"": nil, ", where texts are not standard": {"standard_conforming_strings", "backslash_quote", "escape_string_warning"}} {
			t.Run(name+setting, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
					for _, name := range off {
						c.ConnConfig.RuntimeParams[name] = "off"
					}
				})
				w.everyOperation(hostileSchemas(w.schema)[name], lockOfTheRun(t))
			})
		}
		for _, lock := range []pgstore.Lock{pgstore.ShardLock, pgstore.InsertClaim} {
			t.Run(name+", "+string(lock), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.everyOperation(hostileSchemas(w.schema)[name], lock)
			})
		}
	}
}

// everyOperation has every statement of the store run in the schema.
func (w *world) everyOperation(schema string, lock pgstore.Lock) {
	t, quoted := w.t, w.hostile(schema)
	store, err := pgstore.NewWithConfig(w.pool, pgstore.Config{Schema: schema, Lock: lock})
	require.NoError(t, err)
	require.NoError(t, store.Check(t.Context()))
	w.engine, err = idempotency.New(store, idempotency.Config{MaxPendingPerScope: 5})
	require.NoError(t, err)
	rows := func(where string) int {
		return w.count(`SELECT count(*) FROM ` + quoted + `.idempotency_keys WHERE ` + where)
	}

	for _, status := range []int{201, 402, 503} { // complete, refuse, release
		w.key.Value = schema[:1] + " plain"
		if status == 402 {
			w.key.Value += " refusal"
		}
		for _, replayed := range []bool{false, true} {
			if status == 503 {
				w.key.Value, replayed = "released", false
			}
			result, err := w.run(pays(status))
			require.NoError(t, err)
			require.Equal(t, replayed, result.Replayed)
		}
	}
	require.Equal(t, 2, rows(`state = 'completed'`))
	require.Equal(t, 2, rows(`true`))
	require.Equal(t, 1, w.effects())

	for _, status := range []int{201, 402} {
		w.key.Value = "chain"
		w.completesAChain(status, func() { require.Equal(t, 1, rows(`state = 'pending'`)) })
		_, err = w.pool.Exec(t.Context(), `UPDATE `+quoted+`.idempotency_keys SET expires_at = now() - interval '1 second'`)
		require.NoError(t, err)
	}
	w.key.Value = schema[:1] + " plain" // whose retention is over
	result, err := w.run(pays(201))
	require.NoError(t, err)
	require.False(t, result.Replayed)
	reaped, err := store.Reap(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 2, reaped.Deleted)
	require.Equal(t, 1, rows(`true`))
	require.Equal(t, 4, w.effects())
	require.Zero(t, w.records(), "the table of the search_path was used")
}

// completesAChain leaves w.key after a step and a foreign call, and has the completer end it by status.
func (w *world) completesAChain(status int, left func()) {
	t := w.t
	answer := 503
	handler := func(ctx context.Context, _ pgx.Tx) (idempotency.Response, error) {
		_, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) {
			_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ('step')`)
			return 1, err
		})
		require.NoError(t, err)
		_, err = idempotency.Foreign(ctx, "two", func(context.Context, string) (int, error) { return 2, nil })
		require.NoError(t, err)
		return idempotency.Response{Status: answer}, nil
	}
	_, err := w.run(handler)
	require.NoError(t, err)
	left()
	answer = status
	completer, err := idempotency.NewCompleter(w.engine, func(ctx context.Context, pending idempotency.Pending) error {
		_, err := w.engine.Run(ctx, idempotency.Request{Key: pending.Key}, func(ctx context.Context) (idempotency.Response, error) { return handler(ctx, nil) })
		return err
	}, idempotency.CompleterConfig{})
	require.NoError(t, err)
	pass, err := completer.Pass(t.Context())
	require.NoError(t, err)
	require.Equal(t, idempotency.Pass{Found: 1, Completed: 1}, pass)
}

func TestAStoreInAHostileSchemaConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		w := newWorld(t)
		schema := w.schema[len(w.schema)-8:] + `."'\; DROP TABLE effects; --$1 ü {table}`
		quoted := w.hostile(schema)
		open := func() *pgstore.Store {
			store, err := pgstore.NewWithConfig(pgtest.Pool(t, w.schema, func(c *pgxpool.Config) { c.MaxConns = 4 }), pgstore.Config{Schema: schema})
			require.NoError(t, err)
			return store
		}
		subject := subjectOn(w.pool, quoted+".idempotency_keys")
		subject.Store, subject.Peer = open(), open()
		return subject
	})
}

func TestASchemaThatTheServerWouldTakeForAnotherIsRefused(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"64 bytes": strings.Repeat("x", 64), "16 characters of 4 bytes": strings.Repeat("💸", 16), "NUL": "pub\x00lic", "NUL at the end": "public\x00",
		"no UTF-8": "public\xff", "half a character": "publi\xc3",
	} {
		_, err := pgstore.NewWithConfig(nil, pgstore.Config{Schema: schema})
		require.ErrorContains(t, err, "a schema's name has up to 63 bytes of UTF-8 without NUL", name)
		require.NotContains(t, err.Error(), "\x00")
	}
}
