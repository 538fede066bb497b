// Command profile shows where a payment's time goes: each statement by the server's own books, the plan of each as it was executed, and the
// client's processor time and allocations by pprof.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/site"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

const usage = `profile shows where the time of a payment with a fresh key goes.

It starts a PostgreSQL of its own, from local server binaries with the extensions pg_stat_statements and auto_explain, has each contender
make payments for a while, and prints

	statements   what pg_stat_statements has counted for a payment: executions, time, buffers, write-ahead log
	plans        EXPLAIN (ANALYZE, WAL, BUFFERS) of each, of one payment among many, by auto_explain

and writes what the client spent to files for go tool pprof: <contender>.cpu.pprof and <contender>.allocs.pprof. The server is taken away
at the end. It takes a quarter of a minute for each contender; the same by instructions, and on a busy machine, is bench/instructions.

Usage: profile [flags] [contender ...]    (default: plain, onlyonce)

`

var errNoExtensions = errors.New("the server has no pg_stat_statements or no auto_explain: install its contrib package")

type options struct {
	connections int
	length      time.Duration
	plans       bool
	out         string
	kinds       []contender.Kind
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "profile:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("profile", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.connections, "connections", 8, "payments at a time")
	flags.DurationVar(&o.length, "length", 10*time.Second, "how long each contender makes payments")
	flags.BoolVar(&o.plans, "plans", true, "print the plans")
	flags.StringVar(&o.out, "out", os.TempDir(), "the existing folder that the files for pprof go to")
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.connections < 1 || o.length < 10*time.Millisecond {
		return o, errors.New("there must be a connection, and 10ms for its payments")
	}
	names := flags.Args()
	if len(names) == 0 {
		names = []string{contender.Baseline, "onlyonce"}
	}
	for _, name := range names {
		kind, found := contender.Find(name)
		if !found || kind.Redis {
			return o, fmt.Errorf("there is no contender %q that keeps to PostgreSQL", name)
		}
		o.kinds = append(o.kinds, kind)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	cluster, err := ephemeral.Start(ctx, ephemeral.Options{Durable: true, Settings: map[string]string{
		"shared_preload_libraries":         "pg_stat_statements,auto_explain",
		"pg_stat_statements.track":         "all",
		"track_io_timing":                  "on",
		"compute_query_id":                 "on",
		"auto_explain.log_min_duration":    "-1", // the plans are asked for by the sessions that want them
		"pg_stat_statements.max":           "1000",
		"pg_stat_statements.track_utility": "on",
	}})
	if err != nil {
		if strings.Contains(err.Error(), "could not access file") {
			return fmt.Errorf("%w: %w", errNoExtensions, err)
		}
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	s, err := site.Open(ctx, cluster.URL("postgres"), "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.Admin.Exec(ctx, `CREATE EXTENSION pg_stat_statements`); err != nil {
		return err
	}
	for _, kind := range o.kinds {
		fmt.Fprintf(stderr, "%s: %v of payments\n", kind.Name, o.length)
		if err := o.profile(ctx, s, kind, stdout); err != nil {
			return fmt.Errorf("%s: %w", kind.Name, err)
		}
	}
	return nil
}

// profile has a contender make payments: unobserved at first, so that everything is prepared and warm.
func (o options) profile(ctx context.Context, s *site.Site, kind contender.Kind, stdout io.Writer) error {
	if err := s.Forget(ctx); err != nil {
		return err
	}
	place, leave, err := s.Place(ctx, o.connections)
	if err != nil {
		return err
	}
	defer leave()
	at, err := kind.Open(ctx, place)
	if err != nil {
		return err
	}
	defer at.Close()
	pay := func(ctx context.Context) error {
		_, err := at.Pay(ctx, measure.RandomKey())
		return err
	}
	if _, err := measure.Work(ctx, o.connections, o.length/5, pay); err != nil {
		return err
	}
	if _, err := s.Admin.Exec(ctx, `SELECT pg_stat_statements_reset()`); err != nil {
		return err
	}
	before := place.Payments.Runs()
	if err := sampled(filepath.Join(o.out, kind.Name), func() error {
		_, err := measure.Work(ctx, o.connections, o.length, pay)
		return err
	}); err != nil {
		return err
	}
	payments := place.Payments.Runs() - before
	fmt.Fprintf(stdout, "\n%s: %d payments in %v, %d at a time\n\n", kind.Name, payments, o.length, o.connections)
	if err := statements(ctx, s.Admin, payments, stdout); err != nil {
		return err
	}
	if err := client(ctx, filepath.Join(o.out, kind.Name), payments, stdout); err != nil {
		return err
	}
	if !o.plans {
		return nil
	}
	return plans(ctx, place, kind, stdout)
}
