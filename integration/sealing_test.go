package integration_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/seal"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/pgstore"
)

// planted are the secrets that pass through a service, by where they pass.
var planted = map[string]string{
	"the body of a response":          "4000000000000002-in-the-body",
	"a header of a response":          "token-9f86d081-in-a-header",
	"the body of a refusal":           "4000000000009995-refused",
	"the result of a step":            "4242424242424242-in-a-step",
	"the result of a foreign call":    "4111111111111111-at-the-provider",
	"a stored request":                "5555555555554444-in-the-request",
	"a header of a stored request":    "token-2c26b46b-kept-with-the-request",
	"an error of a handler":           "378282246310005-in-an-error",
	"a message of the database":       "6011111111111117-in-a-message",
	"a message that refused a commit": "3056930009020004-at-the-commit",
	"an error of the completer":       "30569309025904-to-the-completer",
}

// leaks serves requests that carry the secrets, and leaves some of them done, and some at a recovery point.
func leaks(t *testing.T, pool *pgxpool.Pool, schema string, sealer idempotency.Sealer) {
	t.Helper()
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{Sealer: sealer})
	require.NoError(t, err)
	protect, err := nethttp.Middleware(engine, nethttp.Config{
		Scope:         func(*http.Request) (string, error) { return "alice", nil },
		ReplayHeaders: []string{"X-Token"},
		KeepHeaders:   []string{"X-Kept"},
	})
	require.NoError(t, err)
	server := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		fail := func(err error) {
			if err != nil {
				panic(err) // its text is what the row would have
			}
		}
		step := func() {
			_, err := idempotency.Atomic(ctx, "noted", func(ctx context.Context) (string, error) {
				return planted["the result of a step"], nil
			})
			fail(err)
		}
		switch r.URL.Path {
		case "/answer":
			w.Header().Set("X-Token", planted["a header of a response"])
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, planted["the body of a response"])
		case "/refuse":
			w.WriteHeader(http.StatusPaymentRequired)
			_, _ = io.WriteString(w, planted["the body of a refusal"])
		case "/foreign":
			step()
			_, err := idempotency.Foreign(ctx, "charged", func(context.Context, string) (string, error) {
				return planted["the result of a foreign call"], nil
			})
			fail(err)
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/commit":
			step()
			_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO refused VALUES ($1)`, planted["a message that refused a commit"])
			fail(err)
			w.WriteHeader(http.StatusCreated)
		}
	}))
	for _, path := range []string{"/answer", "/refuse", "/foreign", "/commit", "/answer", "/refuse"} {
		request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(planted["a stored request"]))
		request.Header.Set("Idempotency-Key", "key"+strings.ReplaceAll(path, "/", "-"))
		request.Header.Set("X-Kept", planted["a header of a stored request"])
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		if path == "/answer" {
			require.Equal(t, planted["the body of a response"], recorder.Body.String())
			require.Equal(t, planted["a header of a response"], recorder.Header().Get("X-Token"))
		}
	}
	for key, err := range map[string]error{
		"handler": errors.New(planted["an error of a handler"]),
		"database": func() error {
			_, err := pool.Exec(t.Context(), `SELECT $1::text::uuid`, planted["a message of the database"])
			return fmt.Errorf("pay: %w", err)
		}(),
	} {
		_, got := idempotency.Do(t.Context(), engine, idempotency.Request{Key: idempotency.Key{Scope: "bob", Value: key}}, func(ctx context.Context) (int, error) {
			_, stepErr := idempotency.Atomic(ctx, "noted", func(context.Context) (int, error) { return 1, nil })
			return 0, errors.Join(stepErr, err)
		})
		require.ErrorIs(t, got, err)
	}
	completer, err := idempotency.NewCompleter(engine, func(_ context.Context, pending idempotency.Pending) error {
		if pending.Key.Value == "key-foreign" {
			return errors.New(planted["an error of the completer"])
		}
		return idempotency.ErrInProgress
	}, idempotency.CompleterConfig{})
	require.NoError(t, err)
	pass, err := completer.Pass(t.Context())
	require.NoError(t, err)
	require.Equal(t, idempotency.Pass{Found: 4, Pending: 4}, pass)
}

// dump returns everything that is in the schema: as pg_dump writes it, where it is there, and each column of each row by itself.
func dump(t *testing.T, pool *pgxpool.Pool, schema string) []byte {
	t.Helper()
	var all bytes.Buffer
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Conn().PgConn().CopyTo(t.Context(), &all, `COPY idempotency_keys TO STDOUT`)
	require.NoError(t, err)
	_, err = conn.Conn().PgConn().CopyTo(t.Context(), &all, `COPY idempotency_keys TO STDOUT (FORMAT binary)`)
	require.NoError(t, err)

	if command := pgDump(); command != "" {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		run := exec.CommandContext(ctx, command, "--dbname", pgtest.URL(t), "--schema", schema, "--table", schema+".idempotency_keys")
		run.Env = os.Environ()
		out, err := run.Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && strings.Contains(string(exit.Stderr), "server version mismatch") {
			t.Logf("%s is older than the server: what COPY writes has to do", command)
			return all.Bytes()
		}
		require.NoError(t, err)
		require.Contains(t, string(out), "COPY "+schema+".idempotency_keys")
		all.Write(out)
	} else {
		t.Log("there is no pg_dump here: what COPY writes has to do")
	}
	return all.Bytes()
}

func pgDump() string {
	if folder, err := ephemeral.FindBinaries(""); err == nil {
		if command := filepath.Join(folder, "pg_dump"); exec.Command(command, "--version").Run() == nil {
			return command
		}
	}
	command, err := exec.LookPath("pg_dump")
	if err != nil {
		return ""
	}
	return command
}

// found reports whether a dump has the secret, in any of the ways in which bytes are written.
func found(dump []byte, secret string) bool {
	for from := range 3 { // base64 of text that begins anywhere
		if bytes.Contains(dump, []byte(base64.RawStdEncoding.EncodeToString([]byte(secret[from:from+12])))) {
			return true
		}
	}
	lower := bytes.ToLower(dump)
	return bytes.Contains(dump, []byte(secret)) || bytes.Contains(lower, []byte(hex.EncodeToString([]byte(secret)))) ||
		bytes.Contains(dump, []byte(secret[:12])) || bytes.Contains(lower, []byte(hex.EncodeToString([]byte(secret[:12]))))
}

func TestADumpOfSealedRecordsHasNoneOfThePlantedSecrets(t *testing.T) {
	t.Parallel()
	box, err := seal.New(seal.Config{Current: "2026-11", Keys: map[string][]byte{"2026-11": bytes.Repeat([]byte{7}, seal.KeySize)}})
	require.NoError(t, err)
	for name, sealer := range map[string]idempotency.Sealer{"plain": nil, "sealed": box} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := pgtest.Schema(t)
			pool := pgtest.Pool(t, schema)
			_, err := pool.Exec(t.Context(), `CREATE TABLE refused (card text);
				CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'card % is refused', NEW.card USING ERRCODE = '23514'; END $$;
				CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON refused DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
			require.NoError(t, err)
			leaks(t, pool, schema, sealer)
			var rows, pending, errs int
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE state = 'pending' AND steps IS NOT NULL),
				count(*) FILTER (WHERE last_error <> '') FROM idempotency_keys`).Scan(&rows, &pending, &errs))
			require.Equal(t, []int{6, 4, 4}, []int{rows, pending, errs})
			dumped := dump(t, pool, schema)
			for where, secret := range planted {
				// The database's own words are never there.
				want := sealer == nil && where != "a message of the database" && where != "a message that refused a commit"
				require.Equal(t, want, found(dumped, secret), "%s", where)
			}
		})
	}
}
