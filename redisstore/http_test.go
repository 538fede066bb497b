package redisstore_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/redisstore"
)

// damageable is a store whose hashes can be changed behind its back.
type damageable struct{ *redisstore.Store }

func (d damageable) Damage(key idempotency.Key, response idempotency.Response) {
	err := redisstore.Client(d.Store).HSet(context.Background(), d.Name(key), "status", response.Status, "header", response.Header, "body", response.Body).Err()
	if err != nil {
		panic(err)
	}
}

func TestTheHTTPContractOnRedis(t *testing.T) {
	t.Parallel()
	var stores []httpcontract.Store
	for _, kind := range kinds {
		stores = append(stores, httpcontract.Store{Name: "on " + kind.name, Open: func(t *testing.T) httpcontract.Damageable {
			return damageable{open(t, kind.client(t), redisstore.Config{})}
		}})
	}
	httpcontract.Run(t, httpcontract.Adapter{
		Stores:       stores,
		UUIDOnly:     nethttp.UUIDOnly,
		MinLength:    nethttp.MinLength,
		WriteProblem: nethttp.WriteProblem,
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			protect, err := nethttp.Middleware(engine, nethttp.Config(config))
			if err != nil {
				return nil, err
			}
			return protect(next), nil
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			return nethttp.Resume(handler, nethttp.ResumeConfig(config))
		},
	})
}
