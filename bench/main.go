// Command bench measures what idempotency costs: a protected payment against the same payment on plain pgx, and against what else
// people use, in one run, round by round in turn. It needs a database of its own, by DATABASE_URL; make bench brings one.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/onlyonce/onlyonce/bench/child"
	"github.com/onlyonce/onlyonce/bench/trial"
)

func main() {
	child.Run(trial.Roles)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
