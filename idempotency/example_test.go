package idempotency_test

import (
	"context"
	"fmt"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// A message that is delivered twice takes effect once. With pgstore in place of memstore, what the function writes through
// pgstore.Tx(ctx) commits together with its result.
func ExampleDo() {
	store, err := memstore.New(memstore.Config{})
	if err != nil {
		panic(err)
	}
	engine, err := idempotency.New(store, idempotency.Config{})
	if err != nil {
		panic(err)
	}
	type Invoice struct{ Number int }
	issued := 0
	message := idempotency.Request{Key: idempotency.Key{Scope: "orders", Value: "message-4711"}}
	for range 2 { // the queue delivers at least once
		invoice, err := idempotency.Do(context.Background(), engine, message, func(context.Context) (Invoice, error) {
			issued++
			return Invoice{Number: 1000 + issued}, nil
		})
		fmt.Println(invoice.Number, err)
	}
	fmt.Println("issued:", issued)
	// Output:
	// 1001 <nil>
	// 1001 <nil>
	// issued: 1
}

// A refusal is an answer: it is kept, and given to every later call.
func ExampleDo_refusal() {
	store, _ := memstore.New(memstore.Config{})
	engine, _ := idempotency.New(store, idempotency.Config{})
	message := idempotency.Request{Key: idempotency.Key{Scope: "orders", Value: "message-4712"}}
	tries := 0
	for range 2 {
		_, err := idempotency.Do(context.Background(), engine, message, func(context.Context) (int, error) {
			tries++
			return 0, &idempotency.Refusal{Reason: "the account is closed"}
		})
		fmt.Println(err)
	}
	fmt.Println("tries:", tries)
	// Output:
	// refused: the account is closed
	// refused: the account is closed
	// tries: 1
}

// A secret is rotated by putting the new one in front: keys that are alive are still recognized.
func ExampleNewFingerprinter() {
	oldSecret, newSecret := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	before, err := idempotency.NewFingerprinter(idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}})
	if err != nil {
		panic(err)
	}
	stored := before.Sum([]byte(`{"amount": 100}`), "POST", "/payments")

	after, err := idempotency.NewFingerprinter(idempotency.FingerprintConfig{Secrets: [][]byte{newSecret, oldSecret}})
	if err != nil {
		panic(err)
	}
	fmt.Println("the same request:", after.Matches(stored, []byte(`{"amount": 100}`), "POST", "/payments"))
	fmt.Println("another amount:", after.Matches(stored, []byte(`{"amount": 999}`), "POST", "/payments"))

	_, err = idempotency.NewFingerprinter(idempotency.FingerprintConfig{Secrets: [][]byte{[]byte("short")}})
	fmt.Println(err)
	// Output:
	// the same request: true
	// another amount: false
	// idempotency: fingerprint secret 0 has 5 bytes: use at least 16 random bytes
}
