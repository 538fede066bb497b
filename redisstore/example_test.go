package redisstore_test

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/redisstore"
)

// A mail is sent once for each idempotency key, unless a process dies between sending it and saying so.
func Example() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL")) // rediss://user:password@host:6379 for TLS and ACL
	if err != nil {
		log.Fatal(err)
	}
	store, err := redisstore.New(redis.NewClient(options), redisstore.Config{Prefix: "mails"})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Check(context.Background()); err != nil {
		log.Fatal(err)
	}
	engine, err := idempotency.New(store, idempotency.Config{})
	if err != nil {
		log.Fatal(err)
	}
	protect, err := nethttp.Middleware(engine, nethttp.Config{
		Scope: func(r *http.Request) (string, error) { return r.Header.Get("X-Account"), nil }, // after authentication
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /mails", protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := send(r.Context()); err != nil {
			http.Error(w, "try again", http.StatusBadGateway) // the key is free again
			return
		}
		w.WriteHeader(http.StatusAccepted) // kept in Redis, and only then sent
	})))
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}

func send(context.Context) error { return nil }
