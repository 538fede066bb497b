package redisstore_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

func hostAndPort(t *testing.T, address string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return host, port
}

func TestABadConfigurationIsRefusedWithoutAServer(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	ring := closing(t, redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}, HeartbeatFrequency: time.Hour}))
	for name, tt := range map[string]struct {
		client redis.UniversalClient
		config redisstore.Config
		says   string
	}{
		"none":                       {client, redisstore.Config{}, ""},
		"no client":                  {nil, redisstore.Config{}, "New needs a client"},
		"a ring":                     {ring, redisstore.Config{}, "use Redis Cluster"},
		"a client without a bound":   {redis.NewClient(&redis.Options{ReadTimeout: -1}), redisstore.Config{}, "set its ReadTimeout"},
		"a client that heeds":        {redis.NewClient(&redis.Options{ReadTimeout: -1, ContextTimeoutEnabled: true}), redisstore.Config{}, ""},
		"a cluster without a bound":  {redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ReadTimeout: -1}), redisstore.Config{}, "set its ReadTimeout"},
		"a cluster":                  {redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}}), redisstore.Config{}, ""},
		"a brace":                    {client, redisstore.Config{Prefix: "a{b"}, "Config.Prefix"},
		"a long prefix":              {client, redisstore.Config{Prefix: strings.Repeat("p", 65)}, "Config.Prefix"},
		"a short lease":              {client, redisstore.Config{Lease: time.Millisecond}, "Config.Lease is 1ms"},
		"a negative lease":           {client, redisstore.Config{Lease: -1}, "Config.Lease"},
		"a negative bound":           {client, redisstore.Config{Timeout: -1}, "Config.Timeout"},
		"another one":                {client, redisstore.Config{ReadBackTimeout: -1}, "Config.ReadBackTimeout"},
		"fewer than no replicas":     {client, redisstore.Config{Replicas: -1}, "Config.Replicas is -1"},
		"a long wait":                {client, redisstore.Config{Replicas: 1, ReplicaTimeout: 5 * time.Second}, "less than Config.Timeout"},
		"a wait over the client's":   {redis.NewClient(&redis.Options{ReadTimeout: time.Second}), redisstore.Config{Replicas: 1}, "ReadTimeout of 1s would be over first"},
		"replicas, no connection":    {struct{ redis.UniversalClient }{client}, redisstore.Config{Replicas: 1}, "Config.Replicas needs"},
		"a client of the user's own": {struct{ redis.UniversalClient }{client}, redisstore.Config{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := redisstore.New(tt.client, tt.config)
			if tt.says == "" {
				require.NoError(t, err)
				require.NotNil(t, store)
				return
			}
			require.Nil(t, store)
			require.ErrorContains(t, err, tt.says)
		})
	}
}

func TestTheTransactionalPromiseIsRefusedAtConstruction(t *testing.T) {
	t.Parallel()
	store, err := redisstore.New(redis.NewClient(&redis.Options{}), redisstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{RequireTransactional: true})
	require.Nil(t, engine)
	require.ErrorContains(t, err, "*redisstore.Store does not commit a handler's writes together with its response")
	require.ErrorContains(t, err, "use pgstore")
}
