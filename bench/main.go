// Command bench measures what idempotency costs: a protected payment against the same payment on plain pgx, in one run,
// round by round in turn, as ratios of medians. It needs a database of its own, by DATABASE_URL; make bench brings one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	if encoded := os.Getenv(victimVariable); encoded != "" {
		if err := runVictim(encoded); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), `bench measures a protected payment against the same payment on plain pgx.

It makes a schema of its own in the database that DATABASE_URL names, and drops it at the end. Figures are ratios of
medians over rounds in which both take turns, since machines are noisy; read the ratios, not the payments per second.

Usage: DATABASE_URL=postgres://… bench [flags]

`)
		flag.PrintDefaults()
	}
	rounds := flag.Int("rounds", 5, "rounds of each measurement; the median counts")
	length := flag.Duration("length", 2*time.Second, "length of a round")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv("DATABASE_URL"), *rounds, *length); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, rounds int, length time.Duration) error {
	if url == "" {
		return fmt.Errorf("DATABASE_URL is not set: run make bench, or name a database that may be filled")
	}
	db, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer db.drop()

	fmt.Printf("PostgreSQL %s, fsync %s, %d rounds of %v each\n\n", db.version, db.fsync, rounds, length)
	fmt.Println("| round-trip time | connections | plain /s | protected /s | protected ÷ plain | by hand ÷ plain | p99 plain | p99 protected | p99 ÷ p99 |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, delay := range []time.Duration{0, time.Millisecond} {
		for _, connections := range []int{1, 8, 32} {
			row, err := db.throughput(ctx, delay, connections, rounds, length)
			if err != nil {
				return err
			}
			fmt.Println(row)
		}
	}
	fmt.Println()
	for _, measure := range []func(context.Context) (string, error){db.roundTrips, db.wal, db.replays, db.herd, db.held, db.recovery} {
		line, err := measure(ctx)
		if err != nil {
			return err
		}
		fmt.Println(line)
	}
	return nil
}
