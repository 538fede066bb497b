package routers_test

import (
	"io"
	"net/http"

	"github.com/go-chi/chi/v5"
)

// One route is protected, by With; what the path says is there for its handler, as it is for a replay's.
func Example_chi() {
	protect := protection()
	r := chi.NewRouter()
	r.Use(authenticate)
	r.With(protect).Post("/orders/{order}/payments", pay(chi.URLParam))
	r.Get("/orders/{order}/payments", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a list") })

	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "POST", "/orders/8/payments", "k1") // another order under the same key
	send(r, "POST", "/orders/8/payments", "k2")
	send(r, "POST", "/orders/8/payments", "")
	send(r, "GET", "/orders/7/payments", "")
	// Output:
	// POST /orders/7/payments: 201 payment 1 for order 7
	// POST /orders/7/payments: 201 payment 1 for order 7, replayed
	// POST /orders/8/payments: 422 key-reused
	// POST /orders/8/payments: 201 payment 2 for order 8
	// POST /orders/8/payments: 400 key-missing
	// GET /orders/7/payments: 200 a list
}

// A group is protected: its routes that read pass through, since Config.Methods are POST and PATCH.
func Example_chiGroup() {
	protect := protection()
	r := chi.NewRouter()
	r.Use(authenticate)
	r.Group(func(r chi.Router) {
		r.Use(protect)
		r.Post("/orders/{order}/payments", pay(chi.URLParam))
		r.Get("/orders/{order}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "an order") })
	})
	r.Post("/search", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "found") })

	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "GET", "/orders/7", "")
	send(r, "POST", "/search", "") // outside of the group
	// Output:
	// POST /orders/7/payments: 201 payment 1 for order 7
	// POST /orders/7/payments: 201 payment 1 for order 7, replayed
	// GET /orders/7: 200 an order
	// POST /search: 200 found
}

// One router is mounted twice. A request is known by the path that its client asked for, whatever a mount leaves of it: under the
// key of the one it is refused at the other.
func Example_chiMount() {
	protect := protection()
	orders := chi.NewRouter()
	orders.Use(protect)
	orders.Post("/{order}/payments", pay(chi.URLParam))
	r := chi.NewRouter()
	r.Use(authenticate)
	r.Mount("/v1/orders", orders)
	r.Mount("/v2/orders", orders)

	send(r, "POST", "/v1/orders/7/payments", "k1")
	send(r, "POST", "/v1/orders/7/payments", "k1")
	send(r, "POST", "/v2/orders/7/payments", "k1")
	// Output:
	// POST /v1/orders/7/payments: 201 payment 1 for order 7
	// POST /v1/orders/7/payments: 201 payment 1 for order 7, replayed
	// POST /v2/orders/7/payments: 422 key-reused
}

// All of a router is protected, before a route is found. A path that leads nowhere is then an answer as any other, and kept.
func Example_chiEveryRoute() {
	r := chi.NewRouter()
	r.Use(authenticate, protection())
	r.Post("/orders/{order}/payments", pay(chi.URLParam))

	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "POST", "/orders/7/payments", "k1")
	send(r, "POST", "/nowhere", "k2")
	send(r, "POST", "/nowhere", "k2")
	// Output:
	// POST /orders/7/payments: 201 payment 1 for order 7
	// POST /orders/7/payments: 201 payment 1 for order 7, replayed
	// POST /nowhere: 404 404 page not found
	// POST /nowhere: 404 404 page not found, replayed
}
