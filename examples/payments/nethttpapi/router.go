// Package nethttpapi serves the payments API by net/http alone.
package nethttpapi

import (
	"net/http"
	"strings"

	"github.com/onlyonce/onlyonce/nethttp"

	"github.com/onlyonce/onlyonce/examples/payments/api"
)

// Router is a http.ServeMux that knows its routes and answers with problem documents where no route fits.
type Router struct {
	service api.Service
	mux     *http.ServeMux
	methods map[string][]string
}

// New returns the router. The order of what is around a payment is the point, from the outside in: recover from panics
// (ServeHTTP), so that the idempotency middleware has rolled back before anybody answers; authenticate, so that keys belong to
// accounts; protect.
func New(service api.Service) (*Router, error) {
	protect, err := nethttp.Middleware(service.Engine, nethttp.Config{Scope: api.Scope, Headers: api.KeyHeaders})
	if err != nil {
		return nil, err
	}
	r := &Router{service: service, mux: http.NewServeMux(), methods: map[string][]string{}}
	r.handle("GET", "/healthz", r.answer(healthz))
	r.handle("GET", "/readyz", r.answer(r.readyz))
	r.handle("GET", "/openapi.yaml", r.answer(openapi))

	payments := paymentsHandler{service.Pool}
	r.handle("POST", "/api/v1/payments", r.authenticated(protect(r.answer(payments.create))))
	r.handle("GET", "/api/v1/payments", r.authenticated(r.answer(payments.list)))
	r.handle("GET", "/api/v1/payments/{id}", r.authenticated(r.answer(payments.get)))
	cards := cardPaymentsHandler{service.Pool, service.Cards}
	r.handle("POST", "/api/v1/card-payments", r.authenticated(protect(r.answer(cards.create))))
	r.handle("GET", "/api/v1/card-payments/{id}", r.authenticated(r.answer(cards.get)))
	r.handle("GET", "/api/v1/balance", r.authenticated(r.answer(payments.balance)))
	r.refuseTheRest()
	return r, nil
}

// Routes returns the methods that each path takes.
func (r *Router) Routes() map[string][]string { return r.methods }

// ServeHTTP lets no panic reach a client. http.ErrAbortHandler is no accident and goes on.
func (r *Router) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	defer func() {
		if value := recover(); value != nil {
			if value == http.ErrAbortHandler {
				panic(value)
			}
			api.WriteProblem(w, api.LogPanic(r.service.Logger, request, value))
		}
	}()
	r.mux.ServeHTTP(w, request)
}

func (r *Router) handle(method, path string, handler http.Handler) {
	r.mux.Handle(method+" "+path, handler)
	r.methods[path] = append(r.methods[path], method)
}

// refuseTheRest answers what http.ServeMux would answer in plain text.
func (r *Router) refuseTheRest() {
	for path, methods := range r.methods {
		r.mux.Handle(path, r.answer(func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return api.NoRoute(http.StatusMethodNotAllowed)
		}))
	}
	r.mux.Handle("/", r.answer(func(http.ResponseWriter, *http.Request) error { return api.NoRoute(http.StatusNotFound) }))
}

// answer makes a http.Handler of one that returns its error, which becomes a problem document.
func (r *Router) answer(handler func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if err := handler(w, request); err != nil {
			api.LogFailure(r.service.Logger, request, err)
			api.WriteProblem(w, err)
		}
	})
}

func (r *Router) authenticated(next http.Handler) http.Handler {
	return r.answer(func(w http.ResponseWriter, request *http.Request) error {
		request, err := r.service.Tokens.Authenticate(request)
		if err != nil {
			return err
		}
		next.ServeHTTP(w, request)
		return nil
	})
}

func healthz(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, api.Healthy)
}

func (r *Router) readyz(w http.ResponseWriter, request *http.Request) error {
	if err := r.service.CheckReady(request.Context()); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, api.Healthy)
}

func openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, err := w.Write(api.OpenAPI)
	return err
}
