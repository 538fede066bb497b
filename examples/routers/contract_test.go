package routers_test

import (
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
	"github.com/onlyonce/onlyonce/nethttp"
)

type middleware = func(http.Handler) http.Handler

// through is nethttp's adapter with a router around it.
func through(route func(protect middleware, next http.HandlerFunc) http.Handler) httpcontract.Adapter {
	return httpcontract.Adapter{
		UUIDOnly:     nethttp.UUIDOnly,
		MinLength:    nethttp.MinLength,
		WriteProblem: nethttp.WriteProblem,
		Cannot:       map[httpcontract.Ability]string{httpcontract.LateTrailers: "the router hands on a copy of the request"},
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			protect, err := nethttp.Middleware(engine, nethttp.Config(config))
			if err != nil {
				return nil, err
			}
			return route(protect, next), nil
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			return nethttp.Resume(handler, nethttp.ResumeConfig(config))
		},
	}
}

func TestTheContractThroughChi(t *testing.T) {
	t.Parallel()
	httpcontract.Run(t, through(func(protect middleware, next http.HandlerFunc) http.Handler {
		r := chi.NewRouter()
		r.With(protect).HandleFunc("/*", next)
		return r
	}))
}

func TestTheContractThroughGorilla(t *testing.T) {
	t.Parallel()
	httpcontract.Run(t, through(func(protect middleware, next http.HandlerFunc) http.Handler {
		r := mux.NewRouter().SkipClean(true) // it would send clients elsewhere before they come here
		r.Use(mux.MiddlewareFunc(protect))
		r.PathPrefix("/").Handler(next)
		return r
	}))
}
