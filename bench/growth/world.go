package growth

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/pgstore"
)

// world is a schema with the tables of the payment in it, and a number of stored keys.
type world struct {
	schema string
	size   int
	pool   *pgxpool.Pool
	store  *pgstore.Store
	engine *idempotency.Engine
	// filled is when the keys were written, and over how many of them were over then: the first.
	filled time.Time
	over   int
}

// newWorld makes a schema with tables that are empty, in place of one of that name.
func newWorld(ctx context.Context, c Config, name string) (*world, error) {
	config, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("read the database's URL: %w", err)
	}
	if err := pgstore.Configure(config, pgstore.PoolConfig{}); err != nil {
		return nil, err
	}
	w := &world{schema: "onlyonce_growth_" + name}
	config.MaxConns = int32(c.Connections) + 1 // the reaper's
	config.ConnConfig.RuntimeParams["search_path"] = w.schema
	for name, value := range c.Set {
		config.ConnConfig.RuntimeParams[name] = value
	}
	if w.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	if err = w.create(ctx); err != nil {
		w.drop()
		return nil, err
	}
	return w, nil
}

func (w *world) create(ctx context.Context) error {
	name := pgx.Identifier{w.schema}.Sanitize()
	if err := w.do(ctx, `DROP SCHEMA IF EXISTS `+name+` CASCADE; CREATE SCHEMA `+name, businessTables,
		fmt.Sprintf(`INSERT INTO accounts SELECT id, 1000000000000 FROM generate_series(1, %d) id`, accounts)); err != nil {
		return fmt.Errorf("make the schema %s in the database that DATABASE_URL names: %w", w.schema, err)
	}
	sql := stdlib.OpenDBFromPool(w.pool)
	defer sql.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, sql, migrations.FS, goose.WithTableName(migrations.VersionTable))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	return w.restart()
}

// restart gives the world a store and an engine that remember nothing.
func (w *world) restart() (err error) {
	if w.store, err = pgstore.NewWithConfig(w.pool, pgstore.Config{Timeout: time.Minute}); err != nil {
		return err
	}
	w.engine, err = idempotency.New(w.store, idempotency.Config{})
	return err
}

// divide puts a table of so many partitions in place of the empty one.
func (w *world) divide(ctx context.Context, partitions int) error {
	if partitions == 0 {
		return nil
	}
	statements := []string{`CREATE TABLE divided (LIKE idempotency_keys INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY HASH (scope, key)`,
		`DROP TABLE idempotency_keys`, `ALTER TABLE divided RENAME TO idempotency_keys`,
		`ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key)`,
		`CREATE INDEX idempotency_keys_reap ON idempotency_keys (expires_at)`,
		`CREATE INDEX idempotency_keys_resume ON idempotency_keys (scope, created_at) WHERE state = 'pending'`}
	for n := range partitions {
		statements = append(statements, fmt.Sprintf(`CREATE TABLE idempotency_keys_%d PARTITION OF idempotency_keys FOR VALUES WITH (MODULUS %d, REMAINDER %[1]d)`, n, partitions))
	}
	return w.do(ctx, statements...)
}

func (w *world) do(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := w.pool.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) number(ctx context.Context, sql string) (n int64, err error) {
	err = w.pool.QueryRow(ctx, sql).Scan(&n)
	return n, err
}

// drop takes the schema away, also when what was measured has been interrupted.
func (w *world) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = w.do(ctx, `DROP SCHEMA IF EXISTS `+pgx.Identifier{w.schema}.Sanitize()+` CASCADE`)
	w.pool.Close()
}
