// Command onlyonce-proxy is a reverse proxy that keeps idempotency keys for upstreams that know nothing of them. Its configuration is a YAML file:
// gateway/proxy/README.md has every setting.
//
//	onlyonce-proxy -config proxy.yaml -check     says what each route will do, and what is wrong
//	onlyonce-proxy -config proxy.yaml -migrate   makes the table of keys in PostgreSQL, or brings it up to date
//	onlyonce-proxy -config proxy.yaml            serves until SIGTERM or SIGINT; SIGHUP has it read the file again
//
// It exits with 0 once every request that had begun was answered, with 2 if the configuration cannot be used, and with 1 for everything else.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/gateway/internal/serve"
	"github.com/onlyonce/onlyonce/gateway/migrate"
	"github.com/onlyonce/onlyonce/gateway/proxy"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	_, _ = fmt.Fprintln(os.Stderr, "onlyonce-proxy:", err)
	if errors.As(err, new(proxy.Problems)) {
		os.Exit(2)
	}
	os.Exit(1)
}

const usage = `onlyonce-proxy keeps idempotency keys in front of services that know nothing of them.

  onlyonce-proxy -config proxy.yaml -check     say what each route will do, and what is wrong
  onlyonce-proxy -config proxy.yaml -migrate   make the table of keys in PostgreSQL
  onlyonce-proxy -config proxy.yaml            serve; SIGHUP reads the file again, SIGTERM ends in order

`

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("onlyonce-proxy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "onlyonce-proxy.yaml", "the configuration `file`")
	check := flags.Bool("check", false, "check the configuration, print what each route will do, and end")
	migrating := flags.Bool("migrate", false, "make the table of keys, or bring it up to date, and end")
	flags.Usage = func() { _, _ = io.WriteString(stderr, usage); flags.PrintDefaults() }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag: see -h", flags.Arg(0))
	}
	config, err := proxy.Read(*path)
	if err != nil {
		return err
	}
	logger := newLogger(config.Log, stderr)
	files := serve.Files{
		Certificate: config.Listen.TLS.Certificate, Key: config.Listen.TLS.Key,
		ClientCA: config.Listen.TLS.ClientCA, OptionalClient: config.Listen.TLS.ClientsMayHaveNone,
	}
	tls, err := files.Config(func(err error) { logger.Error("TLS", "error", err.Error()) })
	if err != nil {
		return proxy.Problems{"listen.tls: " + err.Error()}
	}
	if *check {
		store, err := open(context.Background(), config.Store)
		if err != nil {
			return err
		}
		store.Close()
		return config.Describe(stdout)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if *migrating {
		return migrateStore(ctx, config.Store, logger)
	}
	return start(ctx, *path, config, tls, logger)
}

func migrateStore(ctx context.Context, store proxy.StoreConfig, logger *slog.Logger) error {
	if url := strings.ToLower(string(store.URL)); !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return errors.New("-migrate is for PostgreSQL: other stores need no table")
	}
	return migrate.Up(ctx, string(store.URL), store.Schema, logger)
}

// open touches no network.
func open(ctx context.Context, config proxy.StoreConfig) (*backend.Backend, error) {
	store, err := backend.Open(ctx, string(config.URL), backend.Options{
		Schema: config.Schema, BehindPooler: config.BehindPooler, Prefix: config.Prefix, Replicas: config.Replicas,
		Token: config.Token(), TLS: config.Trust(), Timeout: config.Timeout,
	})
	if err != nil {
		return nil, proxy.Problems{"store: " + err.Error()}
	}
	return store, nil
}

// start serves until ctx ends.
func start(ctx context.Context, path string, config *proxy.Config, tls *tls.Config, logger *slog.Logger) error {
	store, err := open(ctx, config.Store)
	if err != nil {
		return err
	}
	defer store.Close()
	checking, cancel := context.WithTimeout(ctx, 15*time.Second)
	err = store.Check(checking)
	cancel()
	if err != nil {
		return fmt.Errorf("keys cannot be lent by %s: %w", store.Name, err)
	}
	front, err := proxy.New(store.Leaser, config, proxy.Options{Logger: logger, Ready: store.Check})
	if err != nil {
		return err
	}
	logger.InfoContext(ctx, "keys are lent by "+store.Name)
	reloads := make(chan os.Signal, 1)
	signal.Notify(reloads, syscall.SIGHUP)
	defer signal.Stop(reloads)
	background, end := context.WithCancel(ctx)
	defer end()
	go func() {
		for {
			select {
			case <-reloads:
				_ = front.Reload(background, path) // which has logged it
			case <-background.Done():
				return
			}
		}
	}()
	go func() { _ = front.Maintain(background) }()
	return serve.Run(ctx, logger,
		serve.Server{Name: "clients", Address: config.Listen.Address, Handler: front, TLS: tls, H2C: config.Listen.H2C, Grace: config.Listen.Grace},
		serve.Server{Name: "admin", Address: config.Admin.Address, Handler: front.Admin()},
	)
}

func newLogger(config proxy.Log, to io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(config.Level)) // it was checked
	options := &slog.HandlerOptions{Level: level}
	if config.Format == "text" {
		return slog.New(slog.NewTextHandler(to, options))
	}
	return slog.New(slog.NewJSONHandler(to, options))
}
