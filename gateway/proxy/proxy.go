package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/gateway/leased"
	"github.com/onlyonce/onlyonce/idempotency"
)

// Options are what a Proxy may be told beside its configuration.
type Options struct {
	// Logger gets a line for each request where log.access is on, and what becomes of configurations. Default: slog.Default().
	Logger *slog.Logger
	// Ready is asked whether keys can be lent, for /readyz. Default: nobody is, they can.
	Ready func(ctx context.Context) error
}

// Proxy is an http.Handler whose configuration can be replaced while it serves.
type Proxy struct {
	leaser  idempotency.Leaser
	logger  *slog.Logger
	metrics *metrics
	ready   readiness

	mu      sync.Mutex // of those that call Use
	serving atomic.Pointer[generation]
}

// generation is one configuration, in service.
type generation struct {
	config     *Config
	mux        *http.ServeMux
	transports []*http.Transport
}

// New returns a Proxy that serves by config, which Read has returned. It touches no network and starts no goroutine: see [Proxy.Maintain].
func New(leaser idempotency.Leaser, config *Config, options Options) (*Proxy, error) {
	if leaser == nil {
		return nil, errors.New("proxy: New needs something that lends keys: pass a store of pgstore, or memstore.New for tests")
	}
	p := &Proxy{leaser: leaser, logger: options.Logger, metrics: newMetrics(), ready: readiness{ask: options.Ready}}
	if p.logger == nil {
		p.logger = slog.Default()
	}
	return p, p.Use(config)
}

// Use replaces the configuration. Requests that have begun are finished by the one they began under. An error leaves the old one in service: the new
// one cannot be used, or changes what only a restart can.
func (p *Proxy) Use(config *Config) error {
	if config == nil || config.routes == nil {
		return errors.New("proxy: the configuration was not checked: get one from Read or Parse")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.serving.Load()
	if old != nil {
		if err := sameAtStart(old.config, config); err != nil {
			return err
		}
	}
	next, err := build(config, p.leaser)
	if err != nil {
		return err
	}
	p.serving.Store(next)
	if old != nil {
		for _, transport := range old.transports {
			transport.CloseIdleConnections() // the others idle for no longer than idle_timeout
		}
	}
	return nil
}

// Reload is Use with the file at path, and logs what came of it.
func (p *Proxy) Reload(ctx context.Context, path string) error {
	config, err := Read(path)
	if err == nil {
		err = p.Use(config)
	}
	if err != nil {
		p.metrics.reloads.WithLabelValues("failed").Inc()
		p.logger.ErrorContext(ctx, "the new configuration is not used, the old one stays in service", "error", err.Error())
		return err
	}
	p.metrics.reloads.WithLabelValues("done").Inc()
	p.logger.InfoContext(ctx, "a new configuration is in service", "routes", len(config.routes))
	return nil
}

func sameAtStart(old, next *Config) error {
	was, will := old.Store, next.Store
	was.tls, will.tls = nil, nil // files that have changed: a restart reads them
	for _, part := range []struct {
		name        string
		before, now any
	}{
		{"listen", old.Listen, next.Listen},
		{"admin", old.Admin, next.Admin},
		{"store", was, will},
		{"log.format", old.Log.Format, next.Log.Format},
		{"log.level", old.Log.Level, next.Log.Level},
	} {
		if !reflect.DeepEqual(part.before, part.now) {
			return fmt.Errorf("%s has changed, which needs a restart: nothing of the new configuration is used", part.name)
		}
	}
	return nil
}

// build brings all routes together. Routes whose connections are alike share them.
func build(config *Config, leaser idempotency.Leaser) (*generation, error) {
	g := &generation{config: config, mux: http.NewServeMux()}
	type alike struct {
		http2, fresh  bool
		connect, idle time.Duration
		trust         UpstreamTLS
	}
	transports := map[alike]*http.Transport{}
	var problems Problems
	for i := range config.routes {
		r := &config.routes[i]
		like := alike{r.http2, r.fresh, r.connect, r.idle, r.trust}
		if transports[like] == nil {
			transports[like] = r.transport()
			g.transports = append(g.transports, transports[like])
		}
		handler, err := newHandler(r, config, leaser, transports[like])
		if err != nil {
			problems = append(problems, routeError(i, r, err))
			continue
		}
		for _, pattern := range r.patterns {
			if err := register(g.mux, pattern, handler); err != nil {
				problems = append(problems, routeError(i, r, err))
			}
		}
	}
	if problems != nil {
		return nil, problems
	}
	return g, nil
}

// Maintain deletes keys whose time is over, now and then, until ctx ends. Run it in a goroutine of every process: one at a time does the work.
func (p *Proxy) Maintain(ctx context.Context) error {
	store, err := leased.New(p.leaser, leased.Config{Lease: time.Hour})
	if err != nil {
		return err
	}
	engine, err := idempotency.New(store, idempotency.Config{
		ReapInterval: p.serving.Load().config.Store.Reap, Observer: idempotency.LogObserver(p.logger),
	})
	if err != nil {
		return err
	}
	return engine.Maintain(ctx)
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began, t, g := time.Now(), &trip{route: "none", outcome: "no-route", fate: "none"}, p.serving.Load()
	p.metrics.inFlight.Inc()
	defer func() {
		p.metrics.inFlight.Dec()
		took := time.Since(began)
		p.metrics.done(t, took)
		if access := g.config.Log.Access; access == nil || *access {
			p.logger.InfoContext(r.Context(), "request", "method", r.Method, "route", t.route, "status", t.status, "outcome", t.outcome,
				"upstream", t.fate, "ms", float64(took.Microseconds())/1000)
		}
	}()
	w = &counting{w, t}
	r = r.WithContext(context.WithValue(r.Context(), tripKey{}, t))
	handler, pattern := g.mux.Handler(r)
	if pattern != "" {
		handler.ServeHTTP(w, r)
		return
	}
	found := &answerOnly{header: http.Header{}}
	handler.ServeHTTP(found, r)
	if allow := found.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
	}
	noRoute(max(found.status, http.StatusNotFound)).write(w)
}

// answerOnly takes http.ServeMux's own answer where nothing matches.
type answerOnly struct {
	header http.Header
	status int
}

func (a *answerOnly) Header() http.Header         { return a.header }
func (a *answerOnly) WriteHeader(status int)      { a.status = status }
func (a *answerOnly) Write(b []byte) (int, error) { return len(b), nil }
