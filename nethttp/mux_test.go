package nethttp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
)

func protection(t *testing.T) func(http.Handler) http.Handler {
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: nethttp.SharedScope})
	require.NoError(t, err)
	return protect
}

func post(handler http.Handler, path, key string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, nil)
	r.Header.Set("Idempotency-Key", key)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestAHandlerHasThePatternAndThePathValuesOfServeMux(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Pattern, r.PathValue("id"), r.PathValue("rest"))
	})
	for _, c := range []struct {
		name  string
		mount func(protect func(http.Handler) http.Handler) http.Handler
	}{
		{"the route is protected", func(protect func(http.Handler) http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("POST /orders/{id}/{rest...}", protect(handler))
			return mux
		}},
		{"the mux is protected", func(protect func(http.Handler) http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("POST /orders/{id}/{rest...}", handler)
			return protect(mux)
		}},
		{"a mux in a protected route", func(protect func(http.Handler) http.Handler) http.Handler {
			inner, outer := http.NewServeMux(), http.NewServeMux()
			inner.Handle("POST /orders/{id}/{rest...}", handler)
			outer.Handle("/orders/", protect(inner))
			return outer
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := c.mount(protection(t))
			for _, replayed := range []string{"", "true"} {
				answer := post(site, "/orders/7/a/b", "k")
				require.Equal(t, "POST /orders/{id}/{rest...} 7 a/b", answer.Body.String())
				require.Equal(t, replayed, answer.Header().Get("Idempotent-Replayed"))
			}
			require.Equal(t, http.StatusUnprocessableEntity, post(site, "/orders/8/a/b", "k").Code, "another order under the same key")
		})
	}
}
