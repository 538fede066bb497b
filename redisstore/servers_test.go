package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/redisserver"
	"github.com/onlyonce/onlyonce/redisstore"
)

// servers are those that tests share; TestMain ends them.
var servers struct {
	mu      sync.Mutex
	running []*redisserver.Server
}

func TestMain(m *testing.M) {
	if order, is := os.LookupEnv(asWorker); is {
		fields := strings.Split(order, "\n")
		fmt.Fprintln(os.Stderr, worker(fields[0], fields[1], fields[2], fields[3]))
		os.Exit(1)
	}
	code := m.Run()
	for _, server := range servers.running {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// shared starts a server that lasts as long as the tests do.
func shared(arguments ...string) (*redisserver.Server, error) {
	server, err := redisserver.Start(context.Background(), arguments...)
	if err == nil {
		servers.mu.Lock()
		defer servers.mu.Unlock()
		servers.running = append(servers.running, server)
	}
	return server, err
}

// own starts a server for one test.
func own(t *testing.T, arguments ...string) *redisserver.Server {
	t.Helper()
	server, err := redisserver.Start(t.Context(), arguments...)
	orSkip(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

// orSkip skips what needs a server where none can be started.
func orSkip(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, redisserver.ErrNoProgram) {
		t.Skipf("NOT RUN: %v", err)
	}
	require.NoError(t, err)
}

// single is the server of REDIS_URL, which may be filled, or one of our own.
var single = sync.OnceValues(func() (*redis.Options, error) {
	if url := os.Getenv("REDIS_URL"); url != "" {
		return redis.ParseURL(url)
	}
	server, err := shared()
	if err != nil {
		return nil, err
	}
	return &redis.Options{Addr: server.Address}, nil
})

// client returns a client of the one server.
func client(t *testing.T) *redis.Client {
	t.Helper()
	options, err := single()
	orSkip(t, err)
	own := *options
	return closing(t, redis.NewClient(&own))
}

// at returns a client of a server.
func at(t *testing.T, address string, change ...func(o *redis.Options)) *redis.Client {
	t.Helper()
	options := &redis.Options{Addr: address}
	for _, c := range change {
		c(options)
	}
	return closing(t, redis.NewClient(options))
}

func closing[C interface{ Close() error }](t *testing.T, client C) C {
	t.Helper()
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// three is a cluster of three masters, which have a third of the slots each.
var three = sync.OnceValues(func() ([]string, error) {
	var addresses []string
	for range 3 {
		server, err := shared(asNode...)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, server.Address)
	}
	return addresses, join(addresses)
})

var asNode = []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-config-file", "nodes.conf"}

// join makes servers a cluster, in which each has an equal share of the slots.
func join(addresses []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	host, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return err
	}
	var nodes []*redis.Client
	for i, address := range addresses {
		node := redis.NewClient(&redis.Options{Addr: address})
		defer node.Close()
		nodes = append(nodes, node)
		if err := node.ClusterAddSlotsRange(ctx, i*16384/len(addresses), (i+1)*16384/len(addresses)-1).Err(); err != nil {
			return err
		}
		if err := node.ClusterMeet(ctx, host, port).Err(); err != nil && i > 0 {
			return err
		}
	}
	known := fmt.Sprintf("cluster_known_nodes:%d\r", len(addresses))
	for _, node := range nodes {
		for {
			info, err := node.ClusterInfo(ctx).Result()
			if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, known) && strings.Contains(info, "cluster_slots_ok:16384") {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the cluster did not come together: %s, %w", info, err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// clustered returns a client of the cluster.
func clustered(t *testing.T) *redis.ClusterClient {
	t.Helper()
	addresses, err := three()
	orSkip(t, err)
	return closing(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses}))
}

var prefixes atomic.Int64

// prefix is one that no other test has, also in a server that is used again.
var run = strconv.FormatInt(time.Now().UnixNano(), 36)

func prefix() string { return "test-" + run + "-" + strconv.FormatInt(prefixes.Add(1), 36) }

// open returns a store on client; without a prefix in config it is empty.
func open(t *testing.T, client redis.UniversalClient, config redisstore.Config) *redisstore.Store {
	t.Helper()
	if config.Prefix == "" {
		config.Prefix = prefix()
	}
	store, err := redisstore.New(client, config)
	require.NoError(t, err)
	return store
}

// kinds are the servers that what matters everywhere is tried on.
var kinds = []struct {
	name   string
	client func(t *testing.T) redis.UniversalClient
}{
	{"one server", func(t *testing.T) redis.UniversalClient { return client(t) }},
	{"a cluster of three", func(t *testing.T) redis.UniversalClient { return clustered(t) }},
}

// everywhere runs a test on every kind of server.
func everywhere(t *testing.T, test func(t *testing.T, client func(t *testing.T) redis.UniversalClient)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			test(t, kind.client)
		})
	}
}

var key = idempotency.Key{Scope: "alice", Value: "payment-1"}

const retention = time.Hour

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func record(body string) *idempotency.Record {
	return &idempotency.Record{Response: idempotency.Response{Status: 201, Header: []byte("Location: /" + body + "\r\n"), Body: []byte(body)}}
}

// claim claims a key that must be free.
func claim(t *testing.T, store *redisstore.Store, key idempotency.Key) idempotency.Attempt {
	t.Helper()
	attempt, found, err := store.Claim(t.Context(), key)
	require.NoError(t, err)
	require.Nil(t, found)
	require.NotNil(t, attempt)
	return attempt
}

// complete runs a whole attempt.
func complete(t *testing.T, store *redisstore.Store, key idempotency.Key, body string) *idempotency.Record {
	t.Helper()
	want := record(body)
	settled, err := claim(t, store, key).Complete(t.Context(), want, retention)
	require.NoError(t, err)
	require.Same(t, want, settled.Record)
	return want
}

// answers checks that key is answered with want.
func answers(t *testing.T, store *redisstore.Store, key idempotency.Key, want *idempotency.Record) {
	t.Helper()
	attempt, found, err := store.Claim(t.Context(), key)
	require.NoError(t, err)
	require.Nil(t, attempt)
	require.NotNil(t, found)
	require.Equal(t, want.Response, found.Response)
}
