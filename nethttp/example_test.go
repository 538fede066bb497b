package nethttp_test

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

// A ride is created and then charged for, but the card's provider is down and the client does not come back. The completer carries
// it to its end: the ride is not created again, the provider is asked under the same key, and the response is there.
func ExampleResume() {
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
	down := true
	mux := http.NewServeMux()
	mux.Handle("POST /rides", protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ride, err := idempotency.Atomic(r.Context(), "ride_created", func(context.Context) (string, error) {
			fmt.Println("ride created")
			return "ride_1", nil
		})
		if err != nil {
			http.Error(w, "no ride", http.StatusInternalServerError)
			return
		}
		charge, err := idempotency.Foreign(r.Context(), "card_charged", func(_ context.Context, key string) (string, error) {
			fmt.Println("charging", r.Header.Get("X-Account"), "under", key)
			if down {
				return "", errors.New("no answer")
			}
			return "ch_1", nil
		})
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "%s paid by %s", ride, charge)
	})))
	send := func() {
		request := httptest.NewRequest(http.MethodPost, "/rides", strings.NewReader(`{"to": "the airport"}`))
		request.Header.Set("X-Account", "alice")
		request.Header.Set("Idempotency-Key", "ride-1")
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, request)
		fmt.Println(answer.Code, strings.TrimSpace(answer.Body.String()))
	}
	send()

	completer, err := idempotency.NewCompleter(engine, nethttp.Resume(mux, nethttp.ResumeConfig{
		Authenticate: func(r *http.Request, scope string) (*http.Request, error) {
			r.Header.Set("X-Account", scope)
			return r, nil
		},
	}), idempotency.CompleterConfig{})
	if err != nil {
		panic(err)
	}
	down = false
	pass, err := completer.Pass(context.Background()) // in a service: go completer.Run(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("completed:", pass.Completed)
	send()
	// Output:
	// ride created
	// charging alice under cbccd086-1163-8d6b-a22d-08f637294b52
	// 503 try again
	// charging alice under cbccd086-1163-8d6b-a22d-08f637294b52
	// completed: 1
	// 201 ride_1 paid by ch_1
}
