package store_test

import (
	"context"
	"fmt"
	"time"

	"github.com/onlyonce/onlyonce/examples/store"
	"github.com/onlyonce/onlyonce/idempotency"
)

// A message that is delivered twice is worked on once. With HTTP it is the same: the engine goes to nethttp.Middleware.
func ExampleVersioned() {
	table := newMemory() // your storage
	keys, err := store.NewVersioned(table, 45*time.Second)
	if err != nil {
		panic(err)
	}
	engine, err := idempotency.New(keys, idempotency.Config{HandlerTimeout: 30 * time.Second}) // the lease is longer
	if err != nil {
		panic(err)
	}
	for range 2 {
		request := idempotency.Request{Key: idempotency.Key{Scope: "invoices", Value: "message-1"}}
		number, err := idempotency.Do(context.Background(), engine, request, func(context.Context) (int, error) {
			fmt.Println("an invoice is sent")
			return 7, nil
		})
		fmt.Println("invoice", number, err)
	}
	// Output:
	// an invoice is sent
	// invoice 7 <nil>
	// invoice 7 <nil>
}
