package proxy

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin serves operators: /healthz says that the process answers, /readyz that keys can be lent, /metrics is Prometheus's. It is not for clients.
func (p *Proxy) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.ready.now(r.Context()); err != nil {
			http.Error(w, "keys cannot be lent: see the log", http.StatusServiceUnavailable)
			p.logger.WarnContext(r.Context(), "not ready", "error", err.Error())
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return mux
}

// readiness asks at most once a second, whoever wants to know.
type readiness struct {
	ask func(ctx context.Context) error

	mu    sync.Mutex
	asked time.Time
	err   error
}

const readyFor, readyWithin = time.Second, 3 * time.Second

func (r *readiness) now(ctx context.Context) error {
	if r.ask == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) >= readyFor {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWithin)
		defer cancel()
		r.err = r.ask(ctx)
		r.asked = time.Now()
	}
	return r.err
}
