package grid

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
	"github.com/onlyonce/onlyonce/redisstore"
)

// damageable is a store whose hashes can be changed behind its back.
type damageable struct {
	*redisstore.Store
	client *redis.Client
}

func (d damageable) Damage(key idempotency.Key, response idempotency.Response) {
	err := d.client.HSet(context.Background(), d.Name(key), "status", response.Status, "header", response.Header, "body", response.Body).Err()
	if err != nil {
		panic(err)
	}
}

// In memory and on Postgres, by pgx and by database/sql, each adapter's own tests hold it to the contract, and redisstore's hold nethttp.
func TestEveryAdapterHoldsTheContractOnRedis(t *testing.T) {
	t.Parallel()
	for name, adapter := range adapters {
		if name == "nethttp" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adapter.Stores = []httpcontract.Store{{Name: "on Redis", Open: func(t *testing.T) httpcontract.Damageable {
				client := redis.NewClient(&redis.Options{Addr: redisAddress(t), ContextTimeoutEnabled: true})
				t.Cleanup(func() { _ = client.Close() })
				store, err := redisstore.New(client, redisstore.Config{Prefix: rand.Text()})
				require.NoError(t, err)
				return damageable{store, client}
			}}}
			httpcontract.Run(t, adapter)
		})
	}
}
