package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/seal"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/pgstore"
)

const secret = "4242424242424242"

func sealedBy(t *testing.T, ids ...string) func(*idempotency.Config, *pgstore.Config, *pgxpool.Config) {
	t.Helper()
	config := seal.Config{Current: ids[0], Keys: map[string][]byte{}}
	for _, id := range ids {
		config.Keys[id] = bytes.Repeat([]byte(id[:1]), seal.KeySize)
	}
	box, err := seal.New(config)
	require.NoError(t, err)
	return func(c *idempotency.Config, _ *pgstore.Config, _ *pgxpool.Config) { c.Sealer = box }
}

// elsewhere returns an engine of another process on the world's table.
func (w *world) elsewhere(change ...func(*idempotency.Config, *pgstore.Config, *pgxpool.Config)) *idempotency.Engine {
	w.t.Helper()
	var config idempotency.Config
	for _, f := range change {
		f(&config, nil, nil)
	}
	engine, err := idempotency.New(w.store, config)
	require.NoError(w.t, err)
	return engine
}

// unreadable is an attempt at key that must neither run nor be answered.
func (w *world) unreadable(engine *idempotency.Engine, key idempotency.Key, says string) {
	w.t.Helper()
	_, err := engine.Run(w.t.Context(), idempotency.Request{Key: key}, func(context.Context) (idempotency.Response, error) {
		w.t.Error("the handler ran")
		return idempotency.Response{}, nil
	})
	require.ErrorIs(w.t, err, idempotency.ErrRecordUnreadable)
	require.ErrorContains(w.t, err, says)
}

func (w *world) replayed(engine *idempotency.Engine) {
	w.t.Helper()
	result, err := engine.Run(w.t.Context(), w.request(), func(context.Context) (idempotency.Response, error) {
		w.t.Error("the handler ran")
		return idempotency.Response{}, nil
	})
	require.NoError(w.t, err)
	require.True(w.t, result.Replayed)
	require.Equal(w.t, "card "+secret, string(result.Response.Body))
	require.Equal(w.t, "X-Card: "+secret+"\r\n", string(result.Response.Header))
}

// tells has an effect, and the secret in its response.
func tells(ctx context.Context) (idempotency.Response, error) {
	return idempotency.Response{Status: 201, Header: []byte("X-Card: " + secret + "\r\n"), Body: []byte("card " + secret)}, write(ctx, "paid")
}

func TestASealedRowOpensWhereItStandsAndWithItsKeyOnly(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sealedBy(t, "old"), func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
				c.ConnConfig.DefaultQueryExecMode = mode
			})
			_, err := w.engine.Run(t.Context(), w.request(), tells)
			require.NoError(t, err)
			require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE status = 201 AND headers = '\x007365616c65643a'
				AND position($1::bytea in body) = 0`, []byte(secret)))
			w.replayed(w.engine)
			w.replayed(w.elsewhere(sealedBy(t, "new", "old")))

			other := idempotency.Key{Scope: w.key.Scope, Value: "other"}
			_, err = w.pool.Exec(t.Context(), `INSERT INTO idempotency_keys SELECT (jsonb_populate_record(k, jsonb_build_object('key', $1::text))).* FROM idempotency_keys k`, other.Value)
			require.NoError(t, err)
			w.unreadable(w.engine, other, "moved here")
			w.unreadable(w.elsewhere(sealedBy(t, "new")), w.key, `give key "old" back`)
			w.unreadable(w.elsewhere(), w.key, "Config.Sealer is not set")
			w.replayed(w.engine)

			_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET fingerprint = set_byte(fingerprint, 9, 9) WHERE key = $1`, w.key.Value)
			require.NoError(t, err)
			w.unreadable(w.engine, w.key, "moved here")
			_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET fingerprint = set_byte(fingerprint, 9, 0), status = 402 WHERE key = $1`, w.key.Value)
			require.NoError(t, err)
			w.unreadable(w.engine, w.key, "status")
			require.Equal(t, 2, w.records())
			require.Equal(t, 1, w.effects())
		})
	}
}

func TestARefusalIsSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealedBy(t, "a"))
	for range 2 {
		result, err := w.engine.Run(t.Context(), w.request(), func(ctx context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 402, Body: []byte(secret)}, write(ctx, "tried")
		})
		require.NoError(t, err)
		require.Equal(t, secret, string(result.Response.Body))
	}
	require.Equal(t, 0, w.effects())
	require.Equal(t, 0, w.count(`SELECT count(*) FROM idempotency_keys WHERE position($1::bytea in body) > 0`, []byte(secret)))
}

// What was committed is compared byte by byte with what was to be: it must have been sealed once.
func TestASealedRecordIsKnownAgainWhenItsCommitWasNotAnswered(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]idempotency.Handler{
		"one transaction": tells,
		"a chain": func(ctx context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 201, Header: []byte("X-Card: " + secret + "\r\n"), Body: []byte("card " + secret)}, step(ctx, "paid")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy, engine := w.proxied("", sealedBy(t, "a"))
			commits := 0
			if name == "a chain" {
				commits = 1
			}
			var seen atomic.Int32
			cut := proxy.At(func(s wireproxy.Statement) bool { return s.SQL == "COMMIT" && int(seen.Add(1)) > commits }, wireproxy.CutAfter)
			result, err := engine.Run(t.Context(), w.request(), handler)
			require.NoError(t, err)
			require.False(t, result.Replayed, "it is this attempt's own")
			<-cut.Done()
			w.replayed(w.elsewhere(sealedBy(t, "a")))
			require.Equal(t, 1, w.effects())
		})
	}
}

func TestASealedChainIsResumedByAnotherProcessWithRotatedKeys(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sealedBy(t, "old"), func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
				c.ConnConfig.DefaultQueryExecMode = mode
			})
			request := w.request()
			request.Describe = func() ([]byte, error) { return []byte("request " + secret), nil }
			var fails atomic.Bool
			fails.Store(true)
			handler := func(ctx context.Context) (idempotency.Response, error) {
				got, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (string, error) { return secret, write(ctx, "one") })
				if err != nil {
					return idempotency.Response{}, err
				}
				require.Equal(t, secret, got)
				_, err = idempotency.Foreign(ctx, "two", func(context.Context, string) (string, error) {
					if fails.Load() {
						return "", errors.New("declined " + secret)
					}
					return secret, nil
				})
				if err != nil {
					return idempotency.Response{}, err
				}
				return tells(ctx)
			}
			_, err := w.engine.Run(t.Context(), request, handler)
			require.ErrorContains(t, err, "declined")
			require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE last_error = 'internal' AND position($1::bytea in steps) = 0 AND position($1::bytea in request) = 0`, []byte(secret)))

			w.unreadable(w.elsewhere(sealedBy(t, "new")), w.key, `give key "old" back`)
			w.unreadable(w.elsewhere(), w.key, "Config.Sealer is not set")
			_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET key = 'other'`)
			require.NoError(t, err)
			w.unreadable(w.engine, idempotency.Key{Scope: w.key.Scope, Value: "other"}, "moved here")
			_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET key = $1, steps = request, request = steps`, w.key.Value)
			require.NoError(t, err)
			w.unreadable(w.engine, w.key, "moved here")
			_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET steps = request, request = steps`)
			require.NoError(t, err)

			fails.Store(false)
			rotated := w.elsewhere(sealedBy(t, "new", "old"))
			completer, err := idempotency.NewCompleter(rotated, func(ctx context.Context, pending idempotency.Pending) error {
				require.Equal(t, "request "+secret, string(pending.Request))
				_, err := rotated.Run(ctx, w.request(), handler)
				return err
			}, idempotency.CompleterConfig{})
			require.NoError(t, err)
			pass, err := completer.Pass(t.Context())
			require.NoError(t, err)
			require.Equal(t, idempotency.Pass{Found: 1, Completed: 1}, pass)
			w.replayed(w.elsewhere(sealedBy(t, "new")))
			require.Equal(t, 1, w.effect("one"))
			require.Equal(t, 1, w.effect("paid"))
		})
	}
}

// documented returns the statements that docs/sealing.md gives to operators.
func documented(t *testing.T) (inUse, plain string) {
	t.Helper()
	page, err := os.ReadFile("../docs/sealing.md")
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)```sql\n(.*?);\n```").FindAllSubmatch(page, -1)
	require.Len(t, found, 2)
	return string(found[0][1]), string(found[1][1])
}

func TestTheDocumentedStatementsTellWhichKeysAreInUseAndWhatIsPlain(t *testing.T) {
	t.Parallel()
	inUse, plain := documented(t)
	w := newWorld(t)
	for i, engine := range []*idempotency.Engine{w.engine, w.elsewhere(sealedBy(t, "old")), w.elsewhere(sealedBy(t, "new"))} {
		for _, end := range []error{nil, errors.New("left")} {
			request := w.request()
			request.Key.Value = fmt.Sprint(i, end)
			_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
				if end == nil {
					return idempotency.Response{Status: 201, Body: []byte("\x00sealed:\x01\xff\xff")}, nil
				}
				return idempotency.Response{}, errors.Join(step(ctx, "one"), end)
			})
			require.ErrorIs(t, err, end)
		}
	}
	ids := map[string]int{}
	rows, err := w.pool.Query(t.Context(), inUse)
	require.NoError(t, err)
	var state, id string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&state, &id, &n}, func() error { ids[state+" "+id] = n; return nil })
	require.NoError(t, err)
	delete(ids, `completed `+`\377`) // a plain body that only looks sealed
	require.Equal(t, map[string]int{"completed old": 1, "pending old": 2, "completed new": 1, "pending new": 2}, ids)
	require.Equal(t, 2, w.count(`SELECT sum(count) FROM (`+plain+`) AS plain`))
}

// The database quotes values in its messages. None of them gets into the table, sealed or not.
func TestNoTextOfTheDatabaseGetsIntoTheTable(t *testing.T) {
	t.Parallel()
	for name, tail := range map[string]string{
		"a statement": `SELECT $1::text::uuid`,
		"the commit":  `INSERT INTO noted VALUES ($1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, err := w.pool.Exec(t.Context(), `CREATE TABLE noted (card text);
				CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'card % is lost', NEW.card USING ERRCODE = '23514'; END $$;
				CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON noted DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
			require.NoError(t, err)
			_, err = w.chain(func(ctx context.Context) (idempotency.Response, error) {
				require.NoError(t, step(ctx, "one"))
				_, err := pgstore.Tx(ctx).Exec(ctx, tail, secret)
				return idempotency.Response{Status: 201}, err
			})
			require.ErrorContains(t, err, secret)
			var lastError string
			require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT last_error FROM idempotency_keys`).Scan(&lastError))
			require.NotContains(t, lastError, secret)
			require.Contains(t, lastError, "SQLSTATE 2")
		})
	}
}
