package routers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
)

type accountKey struct{}

// authenticate stands for a service's own authentication: it comes before the protection, which asks it who is calling.
func authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account := r.Header.Get("Authorization")
		if account == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), accountKey{}, account)))
	})
}

func account(r *http.Request) (string, error) {
	if account, ok := r.Context().Value(accountKey{}).(string); ok {
		return account, nil
	}
	return "", errors.New("not authenticated")
}

// protection returns the middleware. With pgstore.New(pool) in place of memstore, what a handler writes through
// pgstore.Tx(r.Context()) commits together with its response.
func protection() func(http.Handler) http.Handler {
	store, err := memstore.New(memstore.Config{})
	if err != nil {
		panic(err)
	}
	engine, err := idempotency.New(store, idempotency.Config{})
	if err != nil {
		panic(err)
	}
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: account})
	if err != nil {
		panic(err)
	}
	return protect
}

// pay is a handler that numbers what it does, and says for which order, as param finds it in the route.
func pay(param func(r *http.Request, name string) string) http.HandlerFunc {
	payments := 0
	return func(w http.ResponseWriter, r *http.Request) {
		payments++
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "payment %d for order %s", payments, param(r, "order"))
	}
}

// send sends alice's request and prints the answer.
func send(site http.Handler, method, path, key string) {
	r := httptest.NewRequest(method, path, strings.NewReader(`{"amount":100}`))
	r.Header.Set("Authorization", "alice")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	answer, how := strings.TrimSpace(w.Body.String()), ""
	if w.Header().Get("Content-Type") == "application/problem+json" {
		_, answer, _ = strings.Cut(answer, `"code":"`)
		answer, _, _ = strings.Cut(answer, `"`)
	}
	if w.Header().Get("Idempotent-Replayed") == "true" {
		how = ", replayed"
	}
	fmt.Printf("%s %s: %d %s%s\n", method, path, w.Code, answer, how)
}
