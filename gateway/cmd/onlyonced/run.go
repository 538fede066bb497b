package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/gateway/internal/admin"
	"github.com/onlyonce/onlyonce/gateway/internal/serve"
	"github.com/onlyonce/onlyonce/gateway/migrate"
	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
)

// do does what the configuration asks for, until it is done or ctx ends.
func (c *config) do(ctx context.Context, stdout, stderr io.Writer) error {
	logger := c.logger(stderr)
	if c.migrate {
		return migrate.Up(ctx, c.store, c.backend.Schema, logger)
	}
	tls, err := c.tls.Config(func(err error) { logger.Error("TLS files", "error", err.Error()) })
	if err != nil {
		return err
	}
	b, err := backend.Open(ctx, c.store, c.backend)
	if err != nil {
		return err
	}
	defer b.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c.service.Registerer, c.service.Logger = registry, logger
	handler, err := service.New(b.Leaser, c.service)
	if err != nil {
		return err
	}
	engine, err := idempotency.New(b.Leaser, idempotency.Config{Observer: idempotency.LogObserver(logger), ReapInterval: c.reapInterval})
	if err != nil {
		return err
	}
	if err := b.Check(ctx); err != nil {
		return fmt.Errorf("%s cannot be used: %w", b.Name, err)
	}
	if c.check {
		fmt.Fprintf(stdout, "%s can be used; who may call: %s\n", b.Name, c.admits())
		return nil
	}
	c.warn(logger, tls != nil)
	logger.Info("keys are kept", "store", b.Name, "callers", c.admits())

	maintenance, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { _ = engine.Maintain(maintenance) }) // ctx's error
	defer background.Wait()
	defer stop()
	look := admin.Handler(b.Check, registry, func(err error) {
		if err != nil {
			logger.Error("not ready", "store", b.Name, "error", err.Error())
		} else {
			logger.Info("ready", "store", b.Name)
		}
	})
	main := serve.Server{Name: "service", Address: c.listen, Handler: handler, TLS: tls, H2C: c.h2c, Grace: c.shutdown}
	if c.admin == c.listen && !strings.HasSuffix(c.listen, ":0") { // which are two ports
		main.Handler = beside(look, handler)
		return serve.Run(ctx, logger, main)
	}
	if c.admin == "" {
		return serve.Run(ctx, logger, main)
	}
	return serve.Run(ctx, logger, main, serve.Server{Name: "admin", Address: c.admin, Handler: look, Grace: time.Second})
}

// beside has the paths of admin answered by look, and all others by handler.
func beside(look, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case admin.Live, admin.Ready, admin.Metrics:
			look.ServeHTTP(w, r)
		default:
			handler.ServeHTTP(w, r)
		}
	})
}

// admits says who may call, in words that hold no token.
func (c *config) admits() string {
	switch {
	case c.insecure:
		return "everybody"
	case c.service.AnyCertificate:
		return "every certificate of -client-ca"
	case c.tls.ClientCA != "":
		return fmt.Sprintf("%d tokens or names, with a certificate of -client-ca", len(c.service.Callers))
	default:
		return fmt.Sprintf("%d tokens", len(c.service.Callers))
	}
}

func (c *config) warn(logger *slog.Logger, encrypted bool) {
	host, _, _ := net.SplitHostPort(c.listen)
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return
	}
	if c.insecure {
		logger.Warn("whoever reaches this address may read and write every key: -insecure is set")
	}
	if !encrypted {
		logger.Warn("tokens and responses travel in plain text: set -tls-cert and -tls-key, unless something in front does TLS")
	}
}
