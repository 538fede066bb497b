package routers_test

import (
	"io"
	"net/http"

	"github.com/gorilla/mux"
)

func variable(r *http.Request, name string) string { return mux.Vars(r)[name] }

// One route is protected: its handler is wrapped.
func Example_gorilla() {
	protect := protection()
	r := mux.NewRouter()
	r.Use(authenticate)
	r.Handle("/orders/{order}/payments", protect(pay(variable))).Methods(http.MethodPost)

	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "POST", "/orders/8/payments", "k1") // another order under the same key
	send(r, "POST", "/orders/8/payments", "")
	// Output:
	// POST /orders/7/payments: 201 payment 1 for order 7
	// POST /orders/7/payments: 201 payment 1 for order 7, replayed
	// POST /orders/8/payments: 422 key-reused
	// POST /orders/8/payments: 400 key-missing
}

// A sub-router is protected. gorilla runs its middleware once a route is found, so that a path that leads nowhere takes no key.
func Example_gorillaSubrouter() {
	protect := protection()
	r := mux.NewRouter()
	r.Use(authenticate)
	orders := r.PathPrefix("/orders/{order}").Subrouter()
	orders.Use(mux.MiddlewareFunc(protect))
	orders.Handle("/payments", pay(variable)).Methods(http.MethodPost)
	orders.HandleFunc("/payments", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a list") })

	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "GET", "/orders/7/payments", "")
	send(r, "POST", "/orders/7/nothing", "k2")
	send(r, "POST", "/orders/7/nothing", "k2")
	// Output:
	// POST /orders/7/payments: 201 payment 1 for order 7
	// POST /orders/7/payments: 201 payment 1 for order 7, replayed
	// GET /orders/7/payments: 200 a list
	// POST /orders/7/nothing: 404 404 page not found
	// POST /orders/7/nothing: 404 404 page not found
}

// One handler is mounted twice, each time with its prefix taken off. A request is known by the path that its client asked for: under
// the key of the one it is refused at the other.
func Example_gorillaStripPrefix() {
	inner := mux.NewRouter()
	inner.Handle("/orders/{order}/payments", protection()(pay(variable)))
	r := mux.NewRouter()
	r.Use(authenticate)
	r.PathPrefix("/v1/").Handler(http.StripPrefix("/v1", inner))
	r.PathPrefix("/v2/").Handler(http.StripPrefix("/v2", inner))

	send(r, "POST", "/v1/orders/7/payments", "k1")
	send(r, "POST", "/v1/orders/7/payments", "k1")
	send(r, "POST", "/v2/orders/7/payments", "k1")
	// Output:
	// POST /v1/orders/7/payments: 201 payment 1 for order 7
	// POST /v1/orders/7/payments: 201 payment 1 for order 7, replayed
	// POST /v2/orders/7/payments: 422 key-reused
}
