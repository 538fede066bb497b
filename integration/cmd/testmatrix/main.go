// Command testmatrix runs the tests that touch PostgreSQL against every version that can be had, and prints a grid.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `testmatrix runs the tests that touch PostgreSQL against several versions of it, and prints a grid.

	testmatrix [flags]

The versions are those of the first of these that there is:

	` + foldersVariable + `  folders of initdb and postgres, one for each version, separated as in PATH
	Docker                 a container each of postgres:14-alpine to postgres:18-alpine
	this machine           every server that is installed where packages put it

Which of 14 to 18 are missing is said aloud. Each version gets a throw-away server, and the tests that start and break clusters
of their own take the same version; in a container's row those are skipped, since there are no binaries.

	testmatrix                                      all versions, all columns: some ten minutes each on two cores
	testmatrix -short                               two columns, seconds each
	testmatrix -versions 14,18 -columns exec,http   a part of it
	testmatrix -list                                what there is, without running it

The test binaries are compiled once, and run by one version and column after the other, with a line for each as soon as it is
through. Ctrl-C ends it, with the grid as far as it came. The exit code is 0 if all went well, 1 if a test failed or a version that
was named is missing, 2 if the flags are wrong, and 130 if it was interrupted. What failing tests said is kept in files.

The columns: the conformance suite of pgstore in each of pgx's exec modes, in two isolation levels, with every lock and behind PgBouncer in
transaction mode (with what else runs there), sqlstore with both drivers of database/sql, faults (crashes, cut connections, storms, and the rest of pgstore and integration/stack),
failover to a standby, the HTTP contract on Postgres, the gateways (the service with its client, the proxy with its crashes, the plugin), migrations, and the payments example.

Flags:
`

const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// matrix is one run of the command.
type matrix struct {
	columns  []column
	wanted   []string // versions; empty: all
	race     bool
	timeout  time.Duration
	folder   string // for what tests say
	out      io.Writer
	binaries map[string]binary
}

func run(args []string, stdout, stderr io.Writer) int {
	m := &matrix{out: stdout, binaries: map[string]binary{}}
	flags := flag.NewFlagSet("testmatrix", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	versions := flags.String("versions", "", "only these major versions, with commas between them; one that is missing is a failure then")
	names := flags.String("columns", "", "only these columns, with commas between them")
	short := flags.Bool("short", false, "the smallest selection of columns")
	list := flags.Bool("list", false, "print the versions and columns, and run nothing")
	flags.BoolVar(&m.race, "race", true, "with the race detector")
	flags.DurationVar(&m.timeout, "timeout", 15*time.Minute, "for each run of a test binary")
	flags.StringVar(&m.folder, "out", "", "folder for what the tests say; by default a temporary one, kept if a test fails")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	var err error
	if m.columns, err = chosen(*names, *short); err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("%q is not a flag: testmatrix -h tells more", flags.Arg(0))
	}
	if *versions != "" {
		m.wanted = strings.Split(strings.ReplaceAll(*versions, " ", ""), ",")
	}
	if err != nil {
		fmt.Fprintln(stderr, "testmatrix:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	failed, err := m.run(ctx, *list)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "testmatrix: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintln(stderr, "testmatrix:", err)
		return exitFailed
	case failed:
		return exitFailed
	}
	return 0
}

// run returns whether anything failed, or an error if nothing could be run.
func (m *matrix) run(ctx context.Context, list bool) (failed bool, err error) {
	found, err := servers(ctx, m.wanted)
	if err != nil {
		return false, err
	}
	for _, s := range found {
		fmt.Fprintf(m.out, "PostgreSQL %s: %s\n", s.major, s.how)
	}
	lacking := missing(m.wanted, found)
	if len(lacking) > 0 {
		fmt.Fprintf(m.out, "PostgreSQL %s: MISSING, not tested. To test it, %s\n", strings.Join(lacking, ", "), howToGet)
	}
	if list {
		fmt.Fprintln(m.out, "columns:", strings.Join(columnNames(), ", "))
		return false, nil
	}
	if len(found) == 0 {
		return false, errors.New("no version to test against")
	}
	temporary := m.folder == ""
	if m.folder, err = m.makeFolder(); err != nil {
		return false, err
	}
	if err := m.compile(ctx); err != nil {
		return false, err
	}
	defer m.removeBinaries()

	var rows []row
	for _, s := range found {
		r, err := m.test(ctx, s)
		if err != nil && ctx.Err() == nil {
			lines := strings.Split(strings.TrimSpace(err.Error()), "\n") // the last says why, those before it what to do elsewhere
			fmt.Fprintf(m.out, "PostgreSQL %s: MISSING, not tested: %s\n", s.major, strings.TrimSpace(lines[len(lines)-1]))
			lacking = append(lacking, s.major)
		}
		rows = append(rows, r)
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Fprintln(m.out)
	broken := printTroubles(m.out, m.columns, rows)
	printGrid(m.out, m.columns, rows)
	if len(lacking) > 0 {
		slices.Sort(lacking)
		fmt.Fprintln(m.out, "not tested:", strings.Join(lacking, ", "))
	}
	if temporary && broken == 0 {
		_ = os.RemoveAll(m.folder)
	}
	nothing := !slices.ContainsFunc(rows, func(r row) bool { return len(r.cells) > 0 })
	return broken > 0 || nothing || len(m.wanted) > 0 && len(lacking) > 0, nil
}

func (m *matrix) makeFolder() (string, error) {
	if m.folder == "" {
		return os.MkdirTemp("", "onlyonce-testmatrix-")
	}
	return m.folder, os.MkdirAll(m.folder, 0o755)
}

func (m *matrix) compile(ctx context.Context) error {
	started := time.Now()
	all := packages(m.columns)
	for _, pkg := range all {
		b, err := compile(ctx, pkg, m.folder, m.race)
		if err != nil {
			return err
		}
		m.binaries[pkg] = b
	}
	fmt.Fprintf(m.out, "compiled the tests of %d packages in %s\n", len(all), time.Since(started).Round(time.Second))
	return nil
}

func (m *matrix) removeBinaries() {
	for _, b := range m.binaries {
		_ = os.Remove(b.file)
	}
}

// test fills a row of the grid. An error says that there is no such server.
func (m *matrix) test(ctx context.Context, s server) (row, error) {
	r := row{version: s.major, how: s.how, cells: map[string]cell{}}
	starting, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	found, err := s.search.Find(starting)
	if err != nil {
		return r, err
	}
	defer func() {
		if err := found.Close(); err != nil {
			fmt.Fprintf(m.out, "%s: %v\n", s.major, err)
		}
	}()
	if r.version, err = serverVersion(starting, found.URL); err != nil {
		return r, err
	}
	for _, c := range m.columns {
		if ctx.Err() != nil {
			break
		}
		counted := m.fill(ctx, s, r.version, c, s.environment(found.URL))
		r.cells[c.name] = counted
		fmt.Fprintf(m.out, "%-6s %-16s %4d passed, %d failed, %d skipped  %s\n",
			r.version, c.name, counted.passed, counted.failed, counted.skipped, counted.took.Round(100*time.Millisecond))
	}
	return r, nil
}

// fill runs a column's tests.
func (m *matrix) fill(ctx context.Context, s server, version string, c column, environment []string) cell {
	started := time.Now()
	var filled cell
	for _, which := range c.tests {
		if ctx.Err() != nil {
			break
		}
		b := m.binaries[which.pkg]
		log, err := logFile(m.folder, s.major, c.name, b)
		if err != nil {
			filled.add(results{failed: 1, names: []string{err.Error()}})
			continue
		}
		counted := b.run(ctx, which, environment, m.timeout, log, func(through int) {
			fmt.Fprintf(m.out, "%-6s %-16s %4d through, after %s\n", version, c.name, through, time.Since(started).Round(time.Second))
		})
		_ = log.Close() // what it lacks, the names of the failed tests do not
		filled.add(counted)
		if counted.failed > 0 {
			filled.logs = append(filled.logs, log.Name())
		}
	}
	filled.took = time.Since(started)
	return filled
}
