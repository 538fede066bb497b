// Command withpostgres runs another command with a PostgreSQL database to use.
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

	"github.com/onlyonce/onlyonce/integration/database"
)

const usage = `withpostgres runs a command with a PostgreSQL database, and takes the database away again.

	withpostgres [flags] -- command [arguments…]

The command finds the database in the environment variable DATABASE_URL. It is the first of these that can be had:

	given    the database that DATABASE_URL already names; it is left as it is
	local    a throw-away cluster, started from this machine's PostgreSQL binaries
	docker   a container of ` + database.Image + `

One line on stderr says which it was. ONLYONCE_TEST_POSTGRES=local or =docker leaves out the other one.

Ctrl-C and SIGTERM, SIGHUP, SIGQUIT are passed on to the command and everything that it started in its process group.
Withpostgres waits for all of them, removes the database, and exits with the command's exit code, or with 128 and the
signal's number. The database is removed even if withpostgres is killed. A terminal is not passed on as the command's
stdin: this is not for interactive commands.

	withpostgres -- go test ./...
	withpostgres -durable -- sh -c 'psql "$DATABASE_URL" -c "SHOW fsync"'

Flags:
`

// Exit codes of our own, as in sh: where the command could not be run.
const (
	exitUsage  = 2
	exitFailed = 125
	exitNoExec = 127
)

func main() {
	os.Exit(run(os.Args[1:], os.Stderr))
}

func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("withpostgres", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	durable := flags.Bool("durable", false, "keep fsync on in a database that is started here: for measurements")
	order := flags.String("order", "given,local,docker", "the ways to try, in this order")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	if flags.NArg() == 0 {
		fmt.Fprintln(stderr, "withpostgres: no command to run: name one after --; withpostgres -h tells more")
		return exitUsage
	}

	// From before the search, so that no signal ends us with a database half started.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)

	search := database.Search{Durable: *durable}
	for way := range strings.SplitSeq(*order, ",") {
		search.Order = append(search.Order, database.Way(strings.TrimSpace(way)))
	}
	found, interrupted, err := find(search, signals)
	if interrupted != nil {
		return exitOf(interrupted)
	}
	if err != nil {
		fmt.Fprintln(stderr, "withpostgres:", err)
		return exitFailed
	}
	fmt.Fprintln(stderr, "withpostgres: using", found.How)

	code, err := execute(flags.Args(), append(os.Environ(), database.URLVariable+"="+found.URL), signals)
	if err != nil {
		fmt.Fprintln(stderr, "withpostgres:", err)
	}
	if err := found.Close(); err != nil {
		fmt.Fprintln(stderr, "withpostgres:", err)
		if code == 0 {
			code = exitFailed
		}
	}
	return code
}

// find gives up, and cleans up, on the first signal.
func find(search database.Search, signals <-chan os.Signal) (*database.Database, os.Signal, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type result struct {
		found *database.Database
		err   error
	}
	results := make(chan result, 1)
	go func() {
		found, err := search.Find(ctx)
		results <- result{found, err}
	}()
	select {
	case r := <-results:
		return r.found, nil, r.err
	case received := <-signals:
		cancel()
		r := <-results
		if r.err == nil {
			r.err = r.found.Close()
		}
		return nil, received, r.err
	}
}

func exitOf(received os.Signal) int {
	if number, ok := received.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitFailed
}
