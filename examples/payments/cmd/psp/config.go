package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

type config struct {
	listenAddr string
	provider   psp.Config
}

// environment names the variable behind each flag. A flag wins over its variable.
var environment = map[string]string{
	"listen":       "PSP_LISTEN_ADDR",
	"failure-rate": "PSP_FAILURE_RATE",
	"slow":         "PSP_SLOW",
	"max-hang":     "PSP_MAX_HANG",
	"seed":         "PSP_SEED",
}

const usage = `psp simulates a card payment provider that fails on demand. It keeps its charges in memory and makes at most one per
Idempotency-Key.

  psp [flags]

  curl -i localhost:8081/v1/charges -H 'Idempotency-Key: k-1' -d '{"amount":100,"currency":"USD","card":"tok_visa","reference":"order-1"}'
  curl 'localhost:8081/v1/charges?idempotency_key=k-1'
  curl localhost:8081/v1/charges

The card says what happens:

`

// parseConfig reads flags and environment. For -h it prints the explanation to help and returns flag.ErrHelp.
func parseConfig(args []string, getenv func(string) string, help io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("psp", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&c.listenAddr, "listen", "127.0.0.1:8081", "PSP_LISTEN_ADDR: `host:port` to listen on; port 0 takes a free one, and the first line says which")
	flags.Float64Var(&c.provider.FailureRate, "failure-rate", 0, "PSP_FAILURE_RATE: `share` of requests, 0 to 1, that fail whatever the card is: by a 500 or no reply, before or after the charge")
	flags.DurationVar(&c.provider.Slow, "slow", 2*time.Second, "PSP_SLOW: how long a charge of tok_slow takes")
	flags.DurationVar(&c.provider.MaxHang, "max-hang", time.Minute, "PSP_MAX_HANG: how long a request of tok_hang is kept at most")
	flags.Uint64Var(&c.provider.Seed, "seed", 0, "PSP_SEED: `number` that makes the random failures the same in every run")

	for name, variable := range environment {
		if value := getenv(variable); value != "" {
			if err := flags.Set(name, value); err != nil {
				return config{}, fmt.Errorf("%s cannot be %q: %w", variable, value, err)
			}
		}
	}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(help, usage, psp.CardHelp(), "\nEach flag can also be set by the environment variable in capital letters; the flag wins.\n\n")
		flags.SetOutput(help)
		flags.PrintDefaults()
	}
	if err != nil {
		return config{}, err
	}
	if flags.NArg() > 0 {
		return config{}, fmt.Errorf("%q is one argument too many: psp takes flags only", flags.Arg(0))
	}
	return c, c.check()
}

func (c config) check() error {
	switch {
	case !(c.provider.FailureRate >= 0 && c.provider.FailureRate <= 1): // NaN as well
		return fmt.Errorf("-failure-rate cannot be %v: give 0 to 1", c.provider.FailureRate)
	case c.provider.Slow <= 0:
		return fmt.Errorf("-slow cannot be %v: give more than 0s", c.provider.Slow)
	case c.provider.MaxHang <= 0:
		return fmt.Errorf("-max-hang cannot be %v: give more than 0s", c.provider.MaxHang)
	}
	return nil
}
