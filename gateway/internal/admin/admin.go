// Package admin answers those who look after a program: whether it lives, whether it is ready, and what it counts.
package admin

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The paths.
const (
	Live    = "/healthz"
	Ready   = "/readyz"
	Metrics = "/metrics"
)

const (
	// fresh is for how long one look at the store answers for all who ask.
	fresh = time.Second
	// bound is how long a look may take.
	bound = 5 * time.Second
)

// Handler answers Live always, Ready by check (200, or 503), and Metrics by gatherer. However many ask, check is called one at a time and once a second
// at most. What it says is for told, which may be nil: it goes to the operator's log, when it changes, and not to who asks.
func Handler(check func(context.Context) error, gatherer prometheus.Gatherer, told func(error)) http.Handler {
	r := &readiness{check: check, told: told}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Live, func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET "+Ready, func(w http.ResponseWriter, req *http.Request) {
		if r.ready(req.Context()) {
			say(w, http.StatusOK, "ready")
		} else {
			say(w, http.StatusServiceUnavailable, "not ready: the store cannot be used, see the log")
		}
	})
	mux.Handle("GET "+Metrics, promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	return mux
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

type readiness struct {
	check func(context.Context) error
	told  func(error)

	mu     sync.Mutex
	looked time.Time
	ok     bool
	asked  bool
}

func (r *readiness) ready(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked && time.Since(r.looked) < fresh {
		return r.ok
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound) // who asked first may hang up, and others wait for the answer
	defer cancel()
	err := r.check(ctx)
	if r.told != nil && (!r.asked || r.ok != (err == nil)) {
		r.told(err)
	}
	r.ok, r.asked, r.looked = err == nil, true, time.Now()
	return r.ok
}
