// Command payments serves a payments API in which every payment takes effect exactly once per idempotency key. Try -h.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/onlyonce/onlyonce/examples/payments/server"
)

func main() {
	os.Exit(run())
}

// run returns the exit code: 0 for an orderly end, 1 for a failure, 2 for a wrong command line.
func run() int {
	if len(os.Args) == 2 && os.Args[1] == demoProvider {
		return runProvider(os.Stdin, os.Stdout)
	}
	config, err := server.ParseConfig(os.Args[1:], os.Getenv, os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "payments: %v\nTry payments -h.\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if config.Demo && config.PSPURL == "" {
		url, stop, err := startProvider()
		if err != nil {
			fmt.Fprintf(os.Stderr, "payments: the card provider of the demo did not start, run one by `go run ./cmd/psp` and give its URL by PSP_URL: %v\n", err)
			return 1
		}
		defer stop()
		config.PSPURL = url
	}
	if err := server.Run(ctx, config, os.Stdout, config.NewLogger(os.Stderr)); err != nil {
		fmt.Fprintf(os.Stderr, "payments: %v\n", err)
		return 1
	}
	return 0
}
