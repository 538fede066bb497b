package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/migrations/functions"
)

// patience bounds each statement that prepares or removes a schema.
const patience = 30 * time.Second

// Schema makes a fresh schema with every migration applied, and returns its name. It is dropped after the test; the test
// fails if a transaction of its own is still open in it by then.
func Schema(tb testing.TB) string {
	tb.Helper()
	schema := EmptySchema(tb)
	migrate(tb, schema, migrations.FS, "")
	return schema
}

// Functions adds the protocol's functions to what [Schema] has made. namespace is the pgstore.Config.Schema of the stores that share the
// table: the schema's name, or nothing.
func Functions(tb testing.TB, schema, namespace string) {
	tb.Helper()
	migrate(tb, schema, functions.FS, namespace)
}

func migrate(tb testing.TB, schema string, set fs.FS, namespace string) {
	tb.Helper()
	ups, err := migrationsUp(set)
	if err != nil {
		tb.Fatal(err)
	}
	administer(tb, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT set_config('search_path', $1, false), set_config('onlyonce.namespace', $2, false)", schema, namespace)
		if err != nil {
			return err
		}
		for _, up := range ups {
			if _, err := conn.Exec(ctx, up.sql); err != nil {
				return fmt.Errorf("migration %s: %w", up.name, err)
			}
		}
		return nil
	})
}

// EmptySchema is [Schema] without the migrations.
func EmptySchema(tb testing.TB) string {
	tb.Helper()
	schema := freshName()
	administer(tb, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE SCHEMA "+schema)
		return err
	})
	tb.Cleanup(func() {
		administer(tb, func(ctx context.Context, conn *pgx.Conn) error {
			if _, err := conn.Exec(ctx, "SET lock_timeout = '10s'"); err != nil {
				return err
			}
			if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE"); err != nil {
				return fmt.Errorf("drop schema %s, in which the test may have left a transaction open: %w", schema, err)
			}
			return nil
		})
	})
	return schema
}

// SchemaURL is [URL] with the schema as its search_path: for connections made elsewhere, by another process say.
func SchemaURL(tb testing.TB, schema string) string {
	tb.Helper()
	u, err := url.Parse(URL(tb))
	if err != nil {
		tb.Fatalf("%s must be a postgres:// URL here, so that a search_path can be added to it: %v", Variable, err)
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}

// freshName needs no quoting in SQL.
func freshName() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return fmt.Sprintf("test_%x", random)
}

func administer(tb testing.TB, do func(context.Context, *pgx.Conn) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, URL(tb))
	if err != nil {
		tb.Fatalf("connect to the test database: %v", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := do(ctx, conn); err != nil {
		tb.Fatal(err)
	}
}
