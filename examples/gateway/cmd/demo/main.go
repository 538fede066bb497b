// Command demo puts two proxies in front of three upstreams that misbehave, and shows what becomes of each request and of its retries.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `demo starts three payments services that know nothing of idempotency keys, and two proxies in front of them, which share the database that
DATABASE_URL names. It sends requests, repeats them with the same key as clients do, kills a service and a proxy, and tells what was paid how often. It takes
half a minute, ends all that it has started, and fails if anything was paid more often than docs/gateway.md says.

	DATABASE_URL=postgres://… demo -proxy bin/onlyonce-proxy -upstream bin/upstream

`

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	proxy := flag.String("proxy", "onlyonce-proxy", "the proxy's `program`")
	upstream := flag.String("upstream", "upstream", "the services' `program`")
	serve := flag.Bool("serve", false, "stay, and print curl lines, until interrupted")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *proxy, *upstream, *serve)
	switch {
	case ctx.Err() != nil && !errors.Is(err, errWrong):
		stop()
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, proxy, upstream string, serve bool) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag: -h tells what there is", flag.Arg(0))
	}
	database := os.Getenv("DATABASE_URL")
	if database == "" {
		return errors.New("DATABASE_URL is not set: make demo-gateway starts a database, or give one of yours")
	}
	s, err := open(ctx, proxy, upstream, database)
	if err != nil {
		return err
	}
	defer s.close()
	if serve {
		s.curl()
		<-ctx.Done()
		return nil
	}
	return s.play(ctx)
}
