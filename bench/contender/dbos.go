package contender

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/bench/payment"
)

// dbosTransact makes the payment in RunAsTransaction on DBOS's own pool, which commits it together with the step's record: what its
// documentation recommends for tables of one's own, at its cheapest.
var dbosTransact = Kind{
	Name:    "dbos",
	Says:    "DBOS Transact: a workflow with the key as its ID, the payment in RunAsTransaction",
	Module:  "github.com/dbos-inc/dbos-transact-golang",
	Replays: true,
	Wal:     true,
	Open: func(ctx context.Context, place Place) (Contender, error) {
		pool, err := place.NewPool(ctx, place.Workers+dbosOwn)
		if err != nil {
			return nil, err
		}
		d := &workflows{place: place, pool: pool}
		if err := d.launch(ctx); err != nil {
			return nil, errors.Join(err, d.end())
		}
		return d, nil
	},
}

// dbosOwn is how many connections DBOS has for itself, beside one for each worker: it listens, polls and recovers.
const dbosOwn = 4

// dbosPolls is how often a second request asks for the end of the first, which is every second by default.
const dbosPolls = 100 * time.Millisecond

// DBOSSchema is where DBOS keeps its tables for a benchmark in schema.
func DBOSSchema(schema string) string { return schema + "_dbos" }

type workflows struct {
	place  Place
	pool   *pgxpool.Pool
	ctx    dbos.Context
	source *dbos.DataSource
}

// launch works under a context of its own, since everything of DBOS ends with that, and recovers what a process of this name has left.
func (d *workflows) launch(ctx context.Context) (err error) {
	d.ctx, err = dbos.NewContext(context.WithoutCancel(ctx), dbos.Config{
		AppName:            "onlyonce-bench",
		SystemDBPool:       d.pool,
		DatabaseSchema:     DBOSSchema(d.place.Schema),
		ApplicationVersion: "bench",
		ExecutorID:         "bench-" + d.place.Process,
		Logger:             slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	if d.source, err = dbos.NewDataSource(d.ctx, d.pool); err != nil {
		return err
	}
	dbos.RegisterWorkflow(d.ctx, d.workflow)
	return dbos.Launch(d.ctx)
}

func (d *workflows) end() (err error) {
	if d.ctx != nil {
		err = dbos.Shutdown(d.ctx, 5*time.Second)
	}
	d.pool.Close()
	return err
}

func (d *workflows) Close() { _ = d.end() }

func (d *workflows) workflow(ctx dbos.Context, key string) (string, error) {
	return dbos.RunAsTransaction(ctx, d.source, func(ctx context.Context, tx dbos.Tx) (string, error) {
		id, err := d.place.Payments.Make(ctx, statements{tx}, key)
		return string(payment.Body(id)), err
	})
}

func (d *workflows) Pay(ctx context.Context, key string) ([]byte, error) {
	handle, err := dbos.RunWorkflow(d.ctx, d.workflow, key, dbos.WithWorkflowID(key))
	if err != nil {
		return nil, err
	}
	bound := time.Minute
	if deadline, ok := ctx.Deadline(); ok {
		bound = time.Until(deadline)
	}
	body, err := handle.GetResult(dbos.WithHandlePollingInterval(dbosPolls), dbos.WithHandleTimeout(bound))
	return []byte(body), err
}

// statements is a transaction of DBOS's, in pgx's words.
type statements struct{ tx dbos.Tx }

func (s statements) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	_, err := s.tx.Exec(ctx, sql, args...)
	return pgconn.CommandTag{}, err
}

func (s statements) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return s.tx.QueryRow(ctx, sql, args...)
}

// Held returns how many connections are in use, without the one on which DBOS listens.
func (d *workflows) Held() int { return max(int(d.pool.Stat().AcquiredConns())-1, 0) }
