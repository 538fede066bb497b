// Command instructions counts what a payment costs the server, in instructions, by running PostgreSQL under valgrind: figures that do not
// depend on what else the machine is doing, for changes too small to be seen in time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/site"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

const usage = `instructions counts what a payment costs the server, in instructions of its own (not the kernel's, not the client's).

It starts a PostgreSQL of its own under valgrind --tool=callgrind, from local server binaries, with one connection for each contender,
and takes both away at the end. A contender makes payments on two connections, three times as many on the second: the difference is
without what a connection costs. The same twice differs by less than a hundredth. It takes two minutes.

Usage: instructions [flags] [contender ...]    (default: those that keep all they know in PostgreSQL)

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "instructions:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("instructions", flag.ContinueOnError)
	flags.SetOutput(stderr)
	payments := flags.Int("payments", 300, "payments on a contender's first connection")
	keep := flags.String("keep", "", "an existing folder, writable for the server, that callgrind's files go to, for callgrind_annotate; empty: they are deleted")
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	kinds, err := chosen(flags.Args())
	if err != nil {
		return err
	}
	out := *keep
	if out == "" {
		if out, err = os.MkdirTemp("", "onlyonce-instructions-"); err != nil {
			return err
		}
		defer os.RemoveAll(out)
		if err := os.Chmod(out, 0o777); err != nil { // the server is another user than root
			return err
		}
	}
	binaries, err := underValgrind(out)
	if err != nil {
		return err
	}
	defer os.RemoveAll(binaries)
	cluster, err := ephemeral.Start(ctx, ephemeral.Options{BinDir: binaries, Settings: map[string]string{"jit": "off", "autovacuum": "off"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	s, err := site.Open(ctx, cluster.URL("postgres"), "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	var baseline int64
	for _, kind := range kinds {
		var spent [2]int64
		for i, n := range []int{*payments, 3 * *payments} {
			fmt.Fprintf(stderr, "%s: %d payments\n", kind.Name, n)
			if spent[i], err = count(ctx, s, kind, n, out); err != nil {
				return fmt.Errorf("%s: %w", kind.Name, err)
			}
		}
		each := (spent[1] - spent[0]) / int64(2**payments)
		if kind.Name == contender.Baseline {
			baseline = each
		}
		fmt.Fprintf(stdout, "%-16s %7d instructions a payment, %+d\n", kind.Name, each, each-baseline)
	}
	return nil
}

// chosen are the baseline and the contenders of these names.
func chosen(names []string) ([]contender.Kind, error) {
	kinds := []contender.Kind{contender.Kinds[0]}
	for _, name := range names {
		kind, found := contender.Find(name)
		if !found || kind.Redis || kind.Name == "dbos" {
			return nil, fmt.Errorf("there is no contender %q that keeps to one connection to PostgreSQL", name)
		}
		kinds = append(kinds, kind)
	}
	if len(names) == 0 {
		for _, kind := range contender.Kinds[1:] {
			if kind.Wal && kind.Name != "dbos" { // which has connections of its own
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds, nil
}

// underValgrind makes a folder of server binaries in which the server is valgrind with the server.
func underValgrind(out string) (string, error) {
	if _, err := exec.LookPath("valgrind"); err != nil {
		return "", errors.New("valgrind is not installed: it does the counting")
	}
	installed, err := ephemeral.FindBinaries("")
	if err != nil {
		return "", err
	}
	folder, err := os.MkdirTemp("", "onlyonce-valgrind-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		return "", err
	}
	programs, err := os.ReadDir(installed)
	if err != nil {
		return "", err
	}
	for _, program := range programs {
		if program.Name() != "postgres" {
			if err := os.Symlink(filepath.Join(installed, program.Name()), filepath.Join(folder, program.Name())); err != nil {
				return "", err
			}
		}
	}
	script := fmt.Sprintf("#!/bin/sh\nexec valgrind -q --tool=callgrind --trace-children=yes --callgrind-out-file='%s/callgrind.out.%%p' '%s/postgres' \"$@\"\n", out, installed)
	return folder, os.WriteFile(filepath.Join(folder, "postgres"), []byte(script), 0o755)
}

// count has a contender make payments on a connection of its own, and reads what its backend has spent, all in all.
func count(ctx context.Context, s *site.Site, kind contender.Kind, payments int, out string) (int64, error) {
	place, leave, err := s.Place(ctx, 1)
	if err != nil {
		return 0, err
	}
	left := false
	defer func() {
		if !left {
			leave()
		}
	}()
	at, err := kind.Open(ctx, place)
	if err != nil {
		return 0, err
	}
	var pid int
	if err := place.Pool.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		return 0, err
	}
	for range payments {
		if _, err := at.Pay(ctx, measure.RandomKey()); err != nil {
			return 0, err
		}
	}
	at.Close()
	leave()
	left = true
	return summary(ctx, filepath.Join(out, fmt.Sprintf("callgrind.out.%d", pid)))
}

// summary waits for what callgrind writes when a backend ends, and reads its sum.
func summary(ctx context.Context, file string) (int64, error) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		lines := strings.Split(string(content), "\n")
		at := slices.IndexFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "totals:") || strings.HasPrefix(line, "summary:")
		})
		if at < 0 {
			continue
		}
		var sum int64
		if _, err := fmt.Sscan(strings.Fields(lines[at])[1], &sum); err == nil && sum > 0 {
			return sum, nil
		}
	}
	return 0, errors.Join(fmt.Errorf("callgrind has not written %s", file), ctx.Err())
}
