package redisstore_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/redisstore"
)

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, client func(t *testing.T) redis.UniversalClient) {
		storetest.Run(t, func(t *testing.T) storetest.Subject {
			store := open(t, client(t), redisstore.Config{})
			return subject(store, open(t, client(t), redisstore.Config{Prefix: redisstore.Prefix(store)}))
		})
	})
}

// subject is a store under test, and as another process sees it.
func subject(store, peer *redisstore.Store) storetest.Subject {
	return storetest.Subject{
		Store: store, Peer: peer, SelfExpiring: true, Crash: redisstore.Crash,
		Expire:   func(ctx context.Context, key idempotency.Key) error { return redisstore.Expire(ctx, store, key) },
		EndLease: func(ctx context.Context, key idempotency.Key) error { return redisstore.EndLease(ctx, store, key) },
	}
}
