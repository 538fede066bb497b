package seal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/seal"
	"github.com/onlyonce/onlyonce/memstore"
)

func Example() {
	key := make([]byte, seal.KeySize) // from where your secrets are kept
	_, _ = rand.Read(key)
	store, _ := memstore.New(memstore.Config{})
	sealing := func(config seal.Config) *idempotency.Engine {
		box, err := seal.New(config)
		if err != nil {
			panic(err)
		}
		engine, err := idempotency.New(store, idempotency.Config{Sealer: box})
		if err != nil {
			panic(err)
		}
		return engine
	}
	charge := func(engine *idempotency.Engine) (string, error) {
		request := idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "payment-1"}}
		return idempotency.Do(context.Background(), engine, request, func(context.Context) (string, error) {
			fmt.Println("charging")
			return "charged card 4242424242424242", nil
		})
	}

	engine := sealing(seal.Config{Current: "2026-11", Keys: map[string][]byte{"2026-11": key}})
	fmt.Println(charge(engine))
	fmt.Println(charge(engine))
	record, _ := store.Lookup(context.Background(), idempotency.Key{Scope: "alice", Value: "payment-1"})
	fmt.Println("readable in the store:", bytes.Contains(record.Response.Body, []byte("4242")))

	// Another process, to which nobody has given the key.
	_, err := charge(sealing(seal.Config{Current: "2027-05", Keys: map[string][]byte{"2027-05": bytes.Repeat([]byte{7}, 32)}}))
	fmt.Println(errors.Is(err, idempotency.ErrRecordUnreadable), errors.Is(err, seal.ErrKeyUnknown))
	// Output:
	// charging
	// charged card 4242424242424242 <nil>
	// charged card 4242424242424242 <nil>
	// readable in the store: false
	// true true
}
