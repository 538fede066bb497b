package nethttp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
)

// A payment that is sent twice is made once; another payment with the same key is turned away. With pgstore in place of
// memstore, what the handler writes through pgstore.Tx(r.Context()) commits together with its response.
func ExampleMiddleware() {
	store, err := memstore.New(memstore.Config{})
	if err != nil {
		panic(err)
	}
	engine, err := idempotency.New(store, idempotency.Config{})
	if err != nil {
		panic(err)
	}
	protect, err := nethttp.Middleware(engine, nethttp.Config{
		Scope: func(r *http.Request) (string, error) { return r.Header.Get("X-Account"), nil }, // after authentication
	})
	if err != nil {
		panic(err)
	}
	payments := 0
	mux := http.NewServeMux()
	mux.Handle("POST /payments", protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		payments++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"id":%d}`, payments)
	})))

	for _, body := range []string{`{"amount": 100}`, `{"amount": 100}`, `{"amount": 999}`} {
		request := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(body))
		request.Header.Set("X-Account", "alice")
		request.Header.Set("Idempotency-Key", "payment-1")
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, request)
		fmt.Printf("%d %s replayed: %q\n", answer.Code, answer.Header().Get("Content-Type"), answer.Header().Get("Idempotent-Replayed"))
	}
	fmt.Println("payments:", payments)
	// Output:
	// 201 application/json replayed: ""
	// 201 application/json replayed: "true"
	// 422 application/problem+json replayed: ""
	// payments: 1
}
