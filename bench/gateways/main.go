// Command gateways measures what the gateway's proxy costs above a bare reverse proxy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/report"
	"github.com/onlyonce/onlyonce/gateway/migrate"
	"github.com/onlyonce/onlyonce/pgstore"
)

const usage = `gateways measures what onlyonce-proxy costs above httputil.ReverseProxy: the same upstream behind both, all of them in this process, keys in the
PostgreSQL that DATABASE_URL names, in a schema of its own, which it drops. Contenders take turns in every round: read the ratios. Two minutes.

Usage: DATABASE_URL=postgres://… gateways [flags]

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Getenv("DATABASE_URL"), os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "gateways: interrupted; the schema is dropped")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "gateways:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, database string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("gateways", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	rounds := flags.Int("rounds", 5, "rounds of each measurement; the median counts")
	length := flags.Duration("length", time.Second, "length of a round")
	docs := flags.String("docs", "", "a document whose lines <!-- bench:gateway --> have the table put between them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *rounds < 1 || *length <= 0 {
		return errors.New("give flags alone, with at least one round of some length: -h tells what there is")
	}
	pool, drop, err := prepare(ctx, database)
	if err != nil {
		return err
	}
	defer drop()
	store := pgstore.New(pool)

	var table strings.Builder
	for _, work := range []time.Duration{0, 10 * time.Millisecond} {
		for _, connections := range []int{1, 8, 32} {
			fmt.Fprintf(stderr, "an upstream that works for %v, %d connections\n", work, connections)
			s, err := open(ctx, store, work, connections)
			if err != nil {
				return err
			}
			var turns []measure.Turn
			for _, c := range s.contenders {
				turns = append(turns, func(ctx context.Context, length time.Duration) (measure.Round, error) {
					return measure.Work(ctx, connections, length, c.send)
				})
			}
			all, err := measure.Interleave(ctx, *rounds, *length, turns, func() {})
			s.close()
			if err != nil {
				return err
			}
			for n, c := range s.contenders {
				if table.Len() == 0 {
					table.WriteString("| upstream | connections | | requests /s | ÷ bare | p99 | ÷ bare |\n|---|---|---|---|---|---|---|\n")
				}
				fmt.Fprintf(&table, "| works for %v | %d | %s | %.0f | **%.2f** | %.1f ms | %.2f |\n", work, connections, c.name,
					measure.Median(measure.PerSecond(all[n])), measure.Median(measure.Ratios(measure.PerSecond(all[n]), measure.PerSecond(all[0]))),
					measure.Median(measure.P99s(all[n])), measure.Median(measure.Ratios(measure.P99s(all[n]), measure.P99s(all[0]))))
			}
		}
	}
	fmt.Fprint(stdout, table.String())
	if *docs != "" {
		return report.Insert(*docs, "gateway", fmt.Sprintf("Medians of %d rounds of %v, all in one process.\n\n%s", *rounds, *length, table.String()))
	}
	return nil
}

// prepare makes a schema with the table of keys.
func prepare(ctx context.Context, database string) (*pgxpool.Pool, func(), error) {
	if database == "" {
		return nil, nil, errors.New("DATABASE_URL is not set: make bench starts a database, or give one of yours")
	}
	const schema = "onlyonce_bench_gateways"
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return nil, nil, err
	}
	if err := pgstore.Configure(config, pgstore.PoolConfig{}); err != nil {
		return nil, nil, err
	}
	config.MaxConns = 32
	config.ConnConfig.RuntimeParams["search_path"] = schema
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	drop := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		_, _ = pool.Exec(ctx, `DROP SCHEMA IF EXISTS `+schema+` CASCADE`)
		pool.Close()
	}
	_, err = pool.Exec(ctx, `DROP SCHEMA IF EXISTS `+schema+` CASCADE`)
	if err == nil {
		_, err = pool.Exec(ctx, `CREATE SCHEMA `+schema)
	}
	if err == nil {
		err = migrate.Up(ctx, database, schema, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		drop()
		return nil, nil, err
	}
	return pool, drop, nil
}
