// Command bench measures what libonlyonce adds to a call: the same statements by plain libpq and by the library, in turn, operation by operation. It
// needs a database of its own by DATABASE_URL, a C compiler and libpq's headers; make bench-clib brings the first.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/internal/keytable"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/migrations/functions"
)

const schema = "onlyonce_clib_bench"

func main() {
	source := flag.String("clib", "clib", "the folder of the library's source")
	rounds := flag.Int("rounds", 20, "rounds, each of every contender")
	operations := flag.Int("operations", 200, "operations of each contender in a round")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *source, *rounds, *operations); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, source string, rounds, operations int) error {
	url := os.Getenv("DATABASE_URL")
	if url == "" {
		return errors.New("DATABASE_URL is not set: use make bench-clib")
	}
	work, err := os.MkdirTemp("", "onlyonce-clib-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	program, err := build(ctx, source, work)
	if err != nil {
		return err
	}
	defer func() { _ = execute(ctx, url, "DROP SCHEMA IF EXISTS "+schema+" CASCADE") }()
	if err := prepare(ctx, url); err != nil {
		return err
	}
	statements := keytable.Of(keytable.NameIn(schema))
	command := exec.CommandContext(ctx, program, strconv.Itoa(rounds), strconv.Itoa(operations))
	command.Env = append(os.Environ(), "BENCH_URL="+url, "BENCH_SCHEMA="+schema, "BENCH_ACQUIRE="+statements.Acquire, "BENCH_SETTLE="+statements.Settle)
	command.Stderr = os.Stderr
	measured, err := command.Output()
	if err != nil {
		return fmt.Errorf("the C program: %w", err)
	}
	return report(out, measured, rounds, operations)
}

// build installs the library below work and compiles the program against it.
func build(ctx context.Context, source, work string) (program string, err error) {
	program = filepath.Join(work, "bench")
	libpq, err := exec.CommandContext(ctx, "pkg-config", "--cflags", "--libs", "libpq").Output()
	if err != nil {
		return "", fmt.Errorf("libpq's headers or pkg-config are not here (Debian: libpq-dev, pkg-config): %w", err)
	}
	arguments := []string{"-std=c11", "-D_GNU_SOURCE", "-O2", "-o", program, filepath.Join(source, "bench", "program", "bench.c"),
		"-I" + filepath.Join(work, "include"), "-L" + filepath.Join(work, "lib"), "-Wl,-rpath," + filepath.Join(work, "lib"), "-lonlyonce"}
	for _, command := range []*exec.Cmd{
		exec.CommandContext(ctx, "make", "-s", "-C", source, "install", "PREFIX="+work, "OUT="+filepath.Join(work, "build")),
		exec.CommandContext(ctx, "gcc", append(arguments, strings.Fields(string(libpq))...)...),
	} {
		if out, err := command.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", command.Path, err, out)
		}
	}
	return program, nil
}

// prepare makes the schema anew, with the table and the functions.
func prepare(ctx context.Context, url string) error {
	script := strings.ReplaceAll("DROP SCHEMA IF EXISTS {s} CASCADE; CREATE SCHEMA {s}; SET search_path = {s}; SET onlyonce.namespace = '{s}';\n", "{s}", schema)
	for _, set := range []fs.FS{migrations.FS, functions.FS} {
		names, err := fs.Glob(set, "*.sql") // sorted
		if err != nil {
			return err
		}
		for _, name := range names {
			text, err := fs.ReadFile(set, name)
			if err != nil {
				return err
			}
			up, _, _ := strings.Cut(string(text), "-- +goose Down\n")
			script += up + "\n"
		}
	}
	return execute(ctx, url, script)
}

func execute(ctx context.Context, url, script string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, script)
	return err
}

func report(out io.Writer, printed []byte, rounds, operations int) error {
	measured := map[string][]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(printed)); lines.Scan(); {
		name, figure, _ := strings.Cut(lines.Text(), "\t")
		micros, err := strconv.ParseFloat(figure, 64)
		if err != nil {
			return fmt.Errorf("the C program printed what is no figure: %q", lines.Text())
		}
		measured[name] = append(measured[name], micros)
	}
	fmt.Fprintf(out, "medians of %d rounds of %d operations each, in turn; nothing waits for a disk unless the server does\n\n", rounds, operations)
	fmt.Fprintln(out, "| operation | plain libpq | libonlyonce | ratio of a round, median (quartiles) |")
	fmt.Fprintln(out, "|---|---|---|---|")
	for _, row := range []struct{ name, says string }{
		{"tx", "BEGIN, begin, complete, COMMIT"}, {"replay", "BEGIN, begin, ROLLBACK"}, {"lease", "claim and completion, as a lease"},
	} {
		plain, library := measured[row.name+"/libpq"], measured[row.name+"/library"]
		if len(plain) != rounds || len(library) != rounds {
			return errors.New("the C program left a contender out")
		}
		ratios := make([]float64, rounds)
		for i := range ratios {
			ratios[i] = library[i] / plain[i]
		}
		fmt.Fprintf(out, "| %s | %.1f µs | %.1f µs | %.3f (%.3f–%.3f) |\n", row.says, quantile(plain, 0.5), quantile(library, 0.5),
			quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75))
	}
	for _, name := range []string{"oo_tx_begin", "into Go and back with an error"} {
		fmt.Fprintf(out, "\n%s alone, without a database: %.2f µs", name, quantile(measured["alone/"+name], 0.5))
	}
	fmt.Fprintln(out)
	return nil
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}
