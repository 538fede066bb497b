// Command psp simulates a card payment provider that fails on demand. Try -h.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// shutdownTimeout is how long a running charge may take to finish.
const shutdownTimeout = 10 * time.Second

func main() {
	os.Exit(run())
}

// run returns the exit code: 0 for an orderly end, 1 for a failure, 2 for a wrong command line.
func run() int {
	config, err := parseConfig(os.Args[1:], os.Getenv, os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "psp: %v\nTry psp -h.\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := serve(ctx, config, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "psp: %v\n", err)
		return 1
	}
	return 0
}

// serve answers requests until ctx ends, and then finishes those that run.
func serve(ctx context.Context, config config, out io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.listenAddr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: choose another address by PSP_LISTEN_ADDR or -listen: %w", config.listenAddr, err)
	}
	web := &http.Server{
		Handler:           psp.NewServer(config.provider),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// The signal ends what hangs. A charge does not look at its context, and is finished.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	fmt.Fprintf(out, "psp: listening on http://%s\n", listener.Addr())
	stopped := make(chan error, 1)
	go func() { stopped <- web.Serve(listener) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := web.Shutdown(bounded); err != nil {
		_ = web.Close()
		return fmt.Errorf("requests still ran %v after the signal and were cut off: give a shorter -slow", shutdownTimeout)
	}
	return nil
}
