package server

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/examples/payments/cards"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/seal"
	"github.com/onlyonce/onlyonce/pgstore"
)

// Command is what the process does.
type Command string

// The commands.
const (
	Serve   Command = "serve"
	Migrate Command = "migrate"
	Seed    Command = "seed"
)

// Config is everything that can be set from outside.
type Config struct {
	Command         Command
	Demo            bool
	DatabaseURL     string
	ListenAddr      string
	Shell           string
	LogLevel        slog.Level
	LogFormat       string
	Wait            time.Duration
	PoolSize        int
	ShutdownTimeout time.Duration

	PSPURL            string
	PSPTimeout        time.Duration
	Lease             time.Duration
	CompleterInterval time.Duration
	ReceiptsInterval  time.Duration

	Store pgstore.Config // how keys are kept; the zero value works

	Sealer  idempotency.Sealer // nil: what is stored of requests and responses is plain
	Sealing idempotency.Sealing
}

// environment names the variable behind each flag. A flag wins over its variable.
var environment = map[string]string{
	"database-url":       "DATABASE_URL",
	"listen":             "LISTEN_ADDR",
	"http":               "HTTP_SHELL",
	"log-level":          "LOG_LEVEL",
	"log-format":         "LOG_FORMAT",
	"wait":               "WAIT",
	"pool-size":          "POOL_SIZE",
	"shutdown-timeout":   "SHUTDOWN_TIMEOUT",
	"psp-url":            "PSP_URL",
	"psp-timeout":        "PSP_TIMEOUT",
	"lease":              "LEASE",
	"completer-interval": "COMPLETER_INTERVAL",
	"receipts-interval":  "RECEIPTS_INTERVAL",
	"sealing":            "SEALING",
	"demo":               "DEMO",
}

const usage = `payments serves a payments API on Postgres in which every payment takes effect exactly once per idempotency key.

  payments [flags]            serve the API
  payments migrate [flags]    create or update the tables of the library and of the service
  payments seed [flags]       open the demo accounts, alice and bob
  payments -demo              all three, with a simulated card provider, and print curl lines to try

Each flag can also be set by the environment variable in capital letters; the flag wins. By its variable alone, since who lists
processes sees flags:

  SEAL_KEYS                   id:base64,id:base64: keys that seal what is stored of requests and responses; the first one is
                              current (id:$(openssl rand -base64 32)). Without it everything is stored plain

`

// ParseConfig reads flags and environment. For -h it prints the explanation to help and returns flag.ErrHelp.
func ParseConfig(args []string, getenv func(string) string, help io.Writer) (Config, error) {
	config := Config{Command: Serve}
	flags := flag.NewFlagSet("payments", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&config.DatabaseURL, "database-url", "", "DATABASE_URL: `url` of the database: postgres://user:password@host:5432/name")
	flags.StringVar(&config.ListenAddr, "listen", "127.0.0.1:8080", "LISTEN_ADDR: `host:port` to listen on; port 0 takes a free one")
	flags.StringVar(&config.Shell, "http", "echo", "HTTP_SHELL: `shell` echo, or nethttp, which serves the same by the standard library alone")
	flags.TextVar(&config.LogLevel, "log-level", slog.LevelInfo, "LOG_LEVEL: `level` debug, info, warn or error")
	flags.StringVar(&config.LogFormat, "log-format", "text", "LOG_FORMAT: `format` text or json")
	flags.DurationVar(&config.Wait, "wait", 2*time.Second, "WAIT: how long a duplicate waits for the first request's answer; 0s answers 409 at once")
	flags.IntVar(&config.PoolSize, "pool-size", 16, "POOL_SIZE: database connections, at most")
	flags.DurationVar(&config.ShutdownTimeout, "shutdown-timeout", 20*time.Second, "SHUTDOWN_TIMEOUT: how long a running request may take to finish after SIGTERM")
	flags.StringVar(&config.PSPURL, "psp-url", "", "PSP_URL: `url` of the card payment provider (default "+defaultPSPURL+"; with -demo, a simulated one is started)")
	flags.DurationVar(&config.PSPTimeout, "psp-timeout", cards.DefaultTimeout, "PSP_TIMEOUT: how long one call of the card payment provider may take; after it the payment is carried on by a retry or the completer")
	flags.DurationVar(&config.Lease, "lease", 15*time.Second, "LEASE: how long a card payment whose process is gone is left alone before a retry or the completer takes over")
	flags.DurationVar(&config.CompleterInterval, "completer-interval", 5*time.Second, "COMPLETER_INTERVAL: time between two looks for card payments that nobody came back for")
	flags.DurationVar(&config.ReceiptsInterval, "receipts-interval", time.Second, "RECEIPTS_INTERVAL: time between two looks for receipts to deliver")
	flags.Func("sealing", "SEALING: `stage` of beginning or ending to use SEAL_KEYS on a live service: read, seal or only (default), see docs/sealing.md", func(text string) error {
		stage, ok := sealing[text]
		if !ok {
			return errors.New("give read, seal or only")
		}
		config.Sealing = stage
		return nil
	})
	flags.BoolVar(&config.Demo, "demo", false, "DEMO: migrate, open the demo accounts, print curl lines, serve")

	for name, variable := range environment {
		if value := getenv(variable); value != "" {
			if err := flags.Set(name, value); err != nil {
				return Config{}, fmt.Errorf("%s cannot be %q: %w", variable, redacted(name, value), err)
			}
		}
	}
	if text := getenv("SEAL_KEYS"); text != "" {
		keys, err := seal.ParseKeys(text)
		if err != nil {
			return Config{}, fmt.Errorf("SEAL_KEYS: %w", err)
		}
		if config.Sealer, err = seal.New(keys); err != nil {
			return Config{}, fmt.Errorf("SEAL_KEYS: %w", err)
		}
	}
	err := parseCommand(flags, args, &config)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(help, usage)
		flags.SetOutput(help)
		flags.PrintDefaults()
	}
	if err != nil {
		return Config{}, err
	}
	if config.PSPURL == "" && !config.Demo {
		config.PSPURL = defaultPSPURL
	}
	return config, config.check()
}

// sealing are the stages of beginning to seal, in their order, and of ending it in the reverse one.
var sealing = map[string]idempotency.Sealing{
	"read": idempotency.PlainAndSealed,
	"seal": idempotency.SealedAndPlain,
	"only": idempotency.SealedOnly,
}

const defaultPSPURL = "http://127.0.0.1:8081"

// maxPSPTimeout leaves the handler time to answer: the engine bounds it to 30 seconds.
const maxPSPTimeout = 25 * time.Second

// parseCommand takes flags before and after the command.
func parseCommand(flags *flag.FlagSet, args []string, config *Config) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return nil
	}
	config.Command = Command(flags.Arg(0))
	if err := flags.Parse(flags.Args()[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is one command too many: give serve, migrate or seed", flags.Arg(0))
	}
	return nil
}

func (c Config) check() error {
	switch {
	case !slices.Contains([]Command{Serve, Migrate, Seed}, c.Command):
		return fmt.Errorf("%q is no command: give serve, migrate or seed", string(c.Command))
	case c.DatabaseURL == "":
		return errors.New("there is no database: set DATABASE_URL, or -database-url, to postgres://user:password@host:5432/name")
	case c.Shell != "echo" && c.Shell != "nethttp":
		return fmt.Errorf("-http cannot be %q: give echo or nethttp", c.Shell)
	case c.LogFormat != "text" && c.LogFormat != "json":
		return fmt.Errorf("-log-format cannot be %q: give text or json", c.LogFormat)
	case c.Wait < 0:
		return fmt.Errorf("-wait cannot be %v: give 0s or more", c.Wait)
	case c.PoolSize < 1 || c.PoolSize > 10_000:
		return fmt.Errorf("-pool-size cannot be %d: give 1 to 10000", c.PoolSize)
	case c.ShutdownTimeout <= 0:
		return fmt.Errorf("-shutdown-timeout cannot be %v: give more than 0s", c.ShutdownTimeout)
	case !isProviderURL(c.PSPURL) && !(c.Demo && c.PSPURL == ""):
		return errors.New("-psp-url cannot be used: give http://host:port, of a provider such as the one that `go run ./cmd/psp` starts")
	case c.PSPTimeout <= 0 || c.PSPTimeout > maxPSPTimeout:
		return fmt.Errorf("-psp-timeout cannot be %v: give more than 0s and at most %v", c.PSPTimeout, maxPSPTimeout)
	case c.Lease < time.Second:
		return fmt.Errorf("-lease cannot be %v: give 1s or more", c.Lease)
	case c.CompleterInterval <= 0:
		return fmt.Errorf("-completer-interval cannot be %v: give more than 0s", c.CompleterInterval)
	case c.ReceiptsInterval <= 0:
		return fmt.Errorf("-receipts-interval cannot be %v: give more than 0s", c.ReceiptsInterval)
	case c.Sealing != idempotency.SealedOnly && c.Sealer == nil:
		return errors.New("-sealing is set, and there are no keys: set SEAL_KEYS to id:base64")
	case c.Demo && c.Command != Serve:
		return fmt.Errorf("-demo migrates and seeds by itself: leave out %q", string(c.Command))
	}
	return nil
}

func isProviderURL(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Host != ""
}

// NewLogger returns the logger that the configuration asks for.
func (c Config) NewLogger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// redacted keeps a password out of an error.
func redacted(name, value string) string {
	if name == "database-url" {
		return "…"
	}
	return strings.TrimSpace(value)
}
