// Command growth measures what payments, replays and the reaper cost as the number of stored keys grows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/bench/growth"
)

const usage = `growth measures what payments, replays and the reaper cost as the number of stored keys grows.

It makes schemas of its own in the database that DATABASE_URL names, and drops them at the end, also after Ctrl-C. Each
size takes turns with the smallest, in the same run: read the ratios, which machines change less than the figures. A size
that finds no room on the disk is left out, and that is said. 50M takes 40 GB: -disk 45.

Usage: DATABASE_URL=postgres://… growth [flags]

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Getenv("DATABASE_URL"), os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "growth: interrupted; the schemas are dropped")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, url string, stdout, stderr io.Writer) error {
	began := time.Now()
	config := growth.Config{URL: url, Set: map[string]string{}, Progress: func(what string) {
		fmt.Fprintf(stderr, "%7s  %s\n", time.Since(began).Round(100*time.Millisecond), what)
	}}
	flags := flag.NewFlagSet("growth", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.Func("sizes", "numbers of stored keys, as in 10k,1M,50M (default 10k,1M,10M)", func(list string) (err error) {
		if list != "" {
			config.Sizes, err = growth.ParseSizes(list)
		}
		return err
	})
	flags.IntVar(&config.Connections, "connections", 8, "payments that are made at a time")
	flags.IntVar(&config.Rounds, "rounds", 5, "rounds of each measurement; the median counts")
	flags.DurationVar(&config.Length, "length", 2*time.Second, "length of a round")
	flags.IntVar(&config.Daily, "daily", 200_000, "keys of a day of the simulated week; -1 leaves the week out")
	flags.IntVar(&config.Backlog, "backlog", 1_000_000, "records that are over when the reaper begins beside payments; -1 leaves that out")
	flags.IntVar(&config.Partitions, "partitions", 0, "parts by hash of scope and key, of all but the smallest's table, to see what that brings")
	disk := flags.Float64("disk", 20, "gigabytes of disk that may be taken")
	flags.Func("set", "name=value, a setting of the payments' sessions, such as wal_compression=on; can be repeated", func(setting string) error {
		name, value, found := strings.Cut(setting, "=")
		if !found || name == "" {
			return errors.New("write name=value")
		}
		config.Set[name] = value
		return nil
	})
	docs := flags.String("docs", "", "a document whose lines <!-- bench:growth --> have the tables put between them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag: -h tells what there is", flags.Arg(0))
	}
	config.Disk = int64(*disk * 1e9)
	report, err := growth.Run(ctx, config)
	if err != nil {
		return err
	}
	fmt.Fprint(stdout, report.Markdown())
	if *docs != "" {
		return report.WriteInto(*docs)
	}
	return nil
}
