package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/report"
	"github.com/onlyonce/onlyonce/bench/site"
	"github.com/onlyonce/onlyonce/bench/trial"
)

// run measures what args ask for, prints it, and writes the page. It returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	url := getenv("DATABASE_URL")
	if url == "" {
		fmt.Fprintln(stderr, "bench: DATABASE_URL is not set: run make bench, or name a database that may be filled")
		return 1
	}
	info, err := os.Stderr.Stat()
	p := &progress{to: stderr, began: time.Now(), terminal: err == nil && info.Mode()&os.ModeCharDevice != 0 && stderr == os.Stderr}
	s, err := site.Open(ctx, url, getenv("REDIS_URL"))
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	results, err := measure(ctx, o, s, p)
	p.end()
	err = errors.Join(err, s.Close())

	about := o.about(s, args)
	fmt.Fprintf(stdout, "%s\n\n", about.Text())
	if s.NoRedis != nil {
		fmt.Fprintf(stdout, "Contenders on Redis were not run: %v\n\n", s.NoRedis)
	}
	for name, part := range results {
		part.Run = about
		results[name] = part
	}
	results.Print(stdout, parts())
	if o.docs != "" && len(results) > 0 {
		err = errors.Join(err, report.Write(o.docs, results, parts()))
	}
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted: what is above was measured before")
		}
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// measure runs the trials that are asked for. What it returns is complete, part by part, also with an error.
func measure(ctx context.Context, o options, s *site.Site, p *progress) (report.Results, error) {
	bench := o.bench(s, p)
	results := report.Results{}
	for _, t := range trial.Trials {
		wanted := slices.DeleteFunc(slices.Clone(t.Parts), func(part string) bool { return !slices.Contains(o.only, part) })
		if len(wanted) == 0 {
			continue
		}
		measured, err := t.Run(bench, ctx, wanted)
		if err != nil {
			return results, fmt.Errorf("%s: %w", strings.Join(wanted, ", "), err)
		}
		for _, part := range measured {
			results[part.Name] = part
		}
	}
	return results, nil
}

func (o options) bench(s *site.Site, p *progress) *trial.Bench {
	b := &trial.Bench{
		Site: s, Rounds: o.rounds, Length: o.length, Seed: o.seed, Kills: o.kills,
		Connections: []int{1, 8, 32}, RTT: time.Millisecond, Herds: trial.Herds, Patience: 10 * time.Second, Payments: 2000, Crashes: 15,
		Progress: p.say,
	}
	if o.quick {
		b.Connections, b.Herds, b.Patience, b.Payments, b.Crashes = []int{8}, trial.Herds[:2], 4*time.Second, 20, 1
	}
	for _, kind := range contender.Kinds {
		if kind.Name == contender.Baseline || slices.Contains(o.contenders, kind.Name) {
			b.Kinds = append(b.Kinds, kind)
		}
	}
	return b
}

// about is what a reader has to know of this run.
func (o options) about(s *site.Site, args []string) report.Run {
	r := report.Run{
		Date:       time.Now().Format(time.DateOnly),
		Command:    command(args),
		PostgreSQL: fmt.Sprintf("PostgreSQL %s, fsync %s", s.Facts.PostgreSQL, s.Facts.Fsync),
		Redis:      s.Facts.Redis,
		Go:         runtime.Version(),
		CPU:        fmt.Sprintf("%d CPUs, %s/%s, shared by clients and servers", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		Rounds:     o.rounds,
		Length:     o.length.String(),
		Seed:       o.seed,
		Versions:   versions(),
		Quick:      o.quick,
	}
	return r
}

// command is how make is asked for the same.
func command(args []string) string {
	var given []string
	for i := 0; i < len(args); i++ {
		if args[i] == "-docs" {
			i++
			continue
		}
		given = append(given, args[i])
	}
	if len(given) == 0 {
		return "make bench"
	}
	return fmt.Sprintf("make bench ARGS='%s'", strings.Join(given, " "))
}

// versions are those of the modules that do the contenders' work.
func versions() []string {
	build, known := debug.ReadBuildInfo()
	if !known {
		return nil
	}
	var found []string
	add := func(module string) {
		for _, dependency := range build.Deps {
			if dependency.Path == module {
				name := strings.TrimPrefix(module, "github.com/")
				found = append(found, name+" "+dependency.Version)
			}
		}
	}
	add("github.com/jackc/pgx/v5")
	for _, kind := range contender.Kinds {
		if kind.Module != "" {
			add(kind.Module)
		}
	}
	add("github.com/gofiber/storage/redis/v3")
	return found
}
