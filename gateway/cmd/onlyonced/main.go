// Command onlyonced lends idempotency keys over HTTP, to gateways in every language. Try -h.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(process()) }

// process runs until it is done, or is asked to end. A second signal ends it at once.
func process() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
}

// run returns the exit code: 0 for an orderly end, 1 for a failure, 2 for a wrong command line.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	config, err := parse(args, getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "onlyonced: %v\nTry onlyonced -h.\n", err)
		return 2
	}
	if err := config.do(ctx, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "onlyonced: %v\n", err)
		return 1
	}
	return 0
}
