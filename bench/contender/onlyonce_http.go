package contender

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/onlyonce/onlyonce/bench/payment"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/pgstore"
	"github.com/onlyonce/onlyonce/replaycache"
)

var onlyonceHTTP = Kind{
	Name:    "onlyonce-http",
	Says:    "this library, by the net/http middleware, called in memory",
	Replays: true,
	Open:    func(_ context.Context, place Place) (Contender, error) { return openHTTP(place, idempotency.Config{}) },
}

var onlyonceCache = Kind{
	Name:      "onlyonce-cache",
	Says:      "the same with a replay cache in the process",
	Replays:   true,
	KillsOnly: true, // and replays over HTTP: a fresh key has nothing of it
	Open: func(_ context.Context, place Place) (Contender, error) {
		cache, err := replaycache.New(replaycache.Config{})
		if err != nil {
			return nil, err
		}
		return openHTTP(place, idempotency.Config{Cache: cache})
	},
}

// nothing is a handler that answers at once: what HTTP itself costs.
var nothing = Kind{
	Name:    "nothing",
	Says:    "net/http with a handler that does nothing",
	Replays: true,
	Open: func(context.Context, Place) (Contender, error) {
		return overHTTP{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 4711) })}, nil
	},
}

// Handler is a contender that can be served over sockets as well.
type Handler interface {
	Contender
	HTTP() http.Handler
}

// openHTTP mounts the middleware.
func openHTTP(place Place, config idempotency.Config) (Contender, error) {
	config.Wait = place.Wait
	engine, err := Engine(place, config)
	if err != nil {
		return nil, err
	}
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: func(*http.Request) (string, error) { return scope, nil }})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+payment.Path, protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := place.Payments.Make(r.Context(), pgstore.Tx(r.Context()), r.Header.Get("Idempotency-Key"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, id)
	})))
	return overHTTP{mux}, nil
}

func answer(w http.ResponseWriter, id int64) {
	w.Header().Set("Content-Type", payment.ContentType)
	w.Header().Set("Location", payment.Location(id))
	w.WriteHeader(payment.Status)
	_, _ = w.Write(payment.Body(id))
}

// overHTTP calls a handler with requests and without sockets.
type overHTTP struct{ handler http.Handler }

func (o overHTTP) HTTP() http.Handler { return o.handler }

func (overHTTP) Close() {}

func (o overHTTP) Pay(ctx context.Context, key string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, payment.Path, strings.NewReader(payment.RequestBody))
	if err != nil {
		return nil, err
	}
	r.RequestURI = payment.Path
	r.Header.Set("Content-Type", payment.ContentType)
	r.Header.Set("Idempotency-Key", key)
	w := memory{header: http.Header{}}
	o.handler.ServeHTTP(&w, r)
	switch w.status {
	case payment.Status:
		return w.body.Bytes(), nil
	case http.StatusConflict:
		return nil, ErrBusy
	}
	return nil, fmt.Errorf("answered %d: %s", w.status, w.body.Bytes())
}

// memory is a response.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *memory) Header() http.Header { return m.header }

func (m *memory) WriteHeader(status int) { m.status = status }

func (m *memory) Write(b []byte) (int, error) { return m.body.Write(b) }
