package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
)

type middleware = func(http.Handler) http.Handler

// answers says what it finds in the route, by a function of the router's.
func answers(param func(r *http.Request, name string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "%s/%s", param(r, "order"), param(r, "item"))
	}
}

func chiParam(r *http.Request, name string) string { return chi.URLParamFromCtx(r.Context(), name) }
func muxParam(r *http.Request, name string) string { return mux.Vars(r)[name] }

func TestTheRoutesOfOtherRoutersReachAProtectedHandler(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		mount func(protect middleware) http.Handler
	}{
		{"chi, one route", func(protect middleware) http.Handler {
			router := chi.NewRouter()
			router.With(protect).Post("/orders/{order}/items/{item}", answers(chiParam))
			return router
		}},
		{"chi, every route", func(protect middleware) http.Handler {
			router := chi.NewRouter()
			router.Use(protect) // before the route is found
			router.Post("/orders/{order}/items/{item}", answers(chiParam))
			return router
		}},
		{"chi, a router below a protected one", func(protect middleware) http.Handler {
			router := chi.NewRouter()
			router.Route("/orders/{order}", func(below chi.Router) {
				below.Use(protect)
				below.Mount("/items", chi.NewRouter().Group(func(items chi.Router) { items.Post("/{item}", answers(chiParam)) }))
			})
			return router
		}},
		{"gorilla, one route", func(protect middleware) http.Handler {
			router := mux.NewRouter()
			router.Handle("/orders/{order}/items/{item}", protect(answers(muxParam))).Methods(http.MethodPost)
			return router
		}},
		{"gorilla, every route", func(protect middleware) http.Handler {
			router := mux.NewRouter()
			router.Use(mux.MiddlewareFunc(protect))
			router.Handle("/orders/{order}/items/{item}", answers(muxParam)).Methods(http.MethodPost)
			return router
		}},
		{"gorilla, a router below a protected one", func(protect middleware) http.Handler {
			router := mux.NewRouter()
			below := router.PathPrefix("/orders/{order}").Subrouter()
			below.Use(mux.MiddlewareFunc(protect))
			below.Handle("/items/{item}", answers(muxParam))
			return router
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store, err := memstore.New(memstore.Config{})
			require.NoError(t, err)
			engine, err := idempotency.New(store, idempotency.Config{})
			require.NoError(t, err)
			protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: nethttp.SharedScope})
			require.NoError(t, err)
			site := c.mount(protect)

			for i, step := range []struct {
				path             string
				status           int
				replayed, answer string
			}{
				{"/orders/7/items/2", http.StatusCreated, "", "7/2"},
				{"/orders/7/items/2", http.StatusCreated, "true", "7/2"},
				{"/orders/8/items/2", http.StatusUnprocessableEntity, "", ""},
			} {
				r := httptest.NewRequest(http.MethodPost, step.path, nil)
				r.Header.Set("Idempotency-Key", "k")
				w := httptest.NewRecorder()
				site.ServeHTTP(w, r)
				require.Equal(t, step.status, w.Code, "request %d", i)
				require.Equal(t, step.replayed, w.Header().Get("Idempotent-Replayed"), "request %d", i)
				if step.answer != "" {
					require.Equal(t, step.answer, w.Body.String(), "request %d", i)
				}
			}
		})
	}
}
