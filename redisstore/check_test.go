package redisstore_test

import (
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

func TestCheckRefusesAServerThatWouldForget(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		arguments []string
		config    redisstore.Config
		says      string
	}{
		"a server as it should be":         {[]string{"--appendonly", "yes"}, redisstore.Config{}, ""},
		"synced with every write":          {[]string{"--appendonly", "yes", "--appendfsync", "always"}, redisstore.Config{}, ""},
		"nothing on disk":                  {nil, redisstore.Config{}, "set appendonly yes"},
		"nothing on disk, and that is all": {nil, redisstore.Config{AnyPersistence: true}, ""},
		"snapshots alone":                  {[]string{"--save", "60 1"}, redisstore.Config{}, "set appendonly yes"},
		"synced at some time":              {[]string{"--appendonly", "yes", "--appendfsync", "no"}, redisstore.Config{}, "set appendfsync everysec"},
		"eviction":                         {[]string{"--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"}, redisstore.Config{}, "set noeviction"},
		"eviction of what expires":         {[]string{"--maxmemory-policy", "volatile-ttl"}, redisstore.Config{AnyPersistence: true}, "set noeviction"},
		"a replica too few":                {[]string{"--appendonly", "yes"}, redisstore.Config{Replicas: 1}, "Config.Replicas wants 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t, at(t, own(t, tt.arguments...).Address), tt.config)
			err := store.Check(t.Context())
			if tt.says == "" {
				require.NoError(t, err)
				keys, err := redisstore.Client(store).Keys(t.Context(), "*").Result()
				require.NoError(t, err)
				require.Empty(t, keys, "it leaves nothing behind")
				return
			}
			require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
			require.ErrorContains(t, err, tt.says)
		})
	}
}

func TestCheckAsksEveryMasterOfACluster(t *testing.T) {
	t.Parallel()
	require.NoError(t, open(t, clustered(t), redisstore.Config{AnyPersistence: true}).Check(t.Context()))

	evicts := append([]string{"--maxmemory-policy", "allkeys-lru"}, asNode...)
	addresses := []string{own(t, asNode...).Address, own(t, evicts...).Address}
	require.NoError(t, join(addresses))
	store := open(t, closing(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses})), redisstore.Config{AnyPersistence: true})
	for range 20 { // whichever of the two is asked first
		require.ErrorContains(t, store.Check(t.Context()), "set noeviction")
	}
}

func TestAReplicaIsRefused(t *testing.T) {
	t.Parallel()
	master := own(t)
	host, port := hostAndPort(t, master.Address)
	replica := at(t, own(t, "--replicaof", host+" "+port).Address, once)
	store := open(t, replica, redisstore.Config{AnyPersistence: true})
	require.ErrorContains(t, store.Check(t.Context()), `role is "slave"`)
	_, _, err := store.Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
}

// documented are the rules that the README asks for, with the user's name and password left out.
func documented(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rules, found := strings.Cut(string(readme), "ACL SETUSER payments on >secret ")
	require.True(t, found)
	rules, _, _ = strings.Cut(rules, "\n")
	require.Contains(t, rules, "~onlyonce:*")
	return strings.Replace(rules, "~onlyonce:*", "~limited:*", 1)
}

func TestTheDocumentedPermissionsAreEnough(t *testing.T) {
	t.Parallel()
	server := own(t, "--appendonly", "yes")
	admin := at(t, server.Address)
	limited := func(rules ...any) *redisstore.Store {
		name := prefix()
		require.NoError(t, admin.Do(t.Context(), append([]any{"acl", "setuser", name, "on", ">secret"}, rules...)...).Err())
		return open(t, at(t, server.Address, func(o *redis.Options) { o.Username, o.Password = name, "secret" }), redisstore.Config{Prefix: "limited"})
	}
	var rules []any
	for _, rule := range strings.Fields(documented(t)) {
		rules = append(rules, rule)
	}
	store := limited(rules...)
	require.NoError(t, store.Check(t.Context()))
	chain := claim(t, store, key).(idempotency.Chain)
	require.NoError(t, chain.Begin(t.Context()))
	require.NoError(t, chain.Save(t.Context(), idempotency.Progress{Attempt: 1}, retention))
	require.NoError(t, chain.Renew(t.Context(), retention))
	_, err := chain.(idempotency.PendingCounter).CountPending(t.Context(), 10)
	require.NoError(t, err)
	require.NoError(t, chain.Yield(t.Context(), idempotency.Progress{Attempt: 1}))
	found, err := store.Pending(t.Context(), idempotency.Due{Limit: 10, MaxCompletions: 10})
	require.NoError(t, err)
	require.Len(t, found.Keys, 1)
	complete(t, store, key, "done")
	_, err = store.Lookup(t.Context(), key)
	require.NoError(t, err)

	require.ErrorContains(t, limited(append(rules, "-info")...).Check(t.Context()), "grant the user +info")
	require.ErrorContains(t, limited(append(rules, "-config|get")...).Check(t.Context()), "grant the user +config|get")
	require.ErrorContains(t, limited(append(rules, "-hset")...).Check(t.Context()), "README.md has the ACL")
	elsewhere, err := redisstore.New(redisstore.Client(store), redisstore.Config{Prefix: "others"})
	require.NoError(t, err)
	_, _, err = elsewhere.Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
}
