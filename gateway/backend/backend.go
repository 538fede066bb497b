// Package backend opens what lends keys to a gateway: PostgreSQL, Redis, or a service that stands in front of either.
package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/gateway/client"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// Options are what a URL does not say. The zero value works.
type Options struct {
	// Schema is where PostgreSQL has the table idempotency_keys. Default: the search_path decides.
	Schema string
	// BehindPooler says that PgBouncer stands in front of PostgreSQL: see pgstore.PoolConfig.
	BehindPooler bool
	// Prefix begins the name of every key in Redis. Default: redisstore's, "onlyonce".
	Prefix string
	// Replicas is how many replicas of Redis must have a claim and a completion: see redisstore.Config.
	Replicas int
	// AnyPersistence has Check leave out how Redis keeps its data on disk: see redisstore.Config.
	AnyPersistence bool
	// Token is the bearer token for a service.
	Token string
	// TLS is for a service, and for Redis by rediss://: the certificate to show and whom to trust. PostgreSQL has it in its URL (sslrootcert …).
	TLS *tls.Config
	// Timeout bounds each round trip. Default: 5 seconds.
	Timeout time.Duration
}

// Backend is something that lends keys, open.
type Backend struct {
	// Leaser lends the keys.
	Leaser idempotency.Leaser
	// Name says what and where it is, for logs: it holds no user, no password and no token.
	Name string

	check func(ctx context.Context) error
	close func()
}

// Check asks whether keys can be lent, and says what to do if not. Call it at start, and where readiness is asked for.
func (b *Backend) Check(ctx context.Context) error { return b.check(ctx) }

// Close gives connections back. Call it once, when nobody uses Leaser any more.
func (b *Backend) Close() { b.close() }

// Forms are the URLs that Open takes, for people to read.
const Forms = "postgres://user@host:5432/database, redis://host:6379 (rediss:// by TLS; host1:6379,host2:6379 a cluster), " +
	"https://host:port of an onlyonced, or memory: for tries"

// Open opens what url names, one of [Forms]. It touches no network, and ctx is not kept: call Check.
//
// Parameters of the URL are those of pgxpool (pool_max_conns=8) and of go-redis (pool_size=8). memory: ends with the process, and no other one
// sees it.
func Open(ctx context.Context, url string, options Options) (*Backend, error) {
	if options.Timeout < 0 {
		return nil, errors.New("backend: Options.Timeout must be positive, or 0 for the default")
	}
	if options.Timeout == 0 {
		options.Timeout = 5 * time.Second
	}
	scheme, _, found := strings.Cut(url, ":")
	if !found {
		return nil, errors.New("backend: the URL has no scheme: give one of " + Forms)
	}
	switch strings.ToLower(scheme) {
	case "postgres", "postgresql":
		return openPostgres(ctx, url, options)
	case "redis", "rediss":
		return openRedis(url, options)
	case "http", "https":
		return openService(url, options)
	case "memory":
		return openMemory()
	default: // the scheme is not repeated: who mistakes the setting may have given a password
		return nil, errors.New("backend: the URL's scheme is not known: give one of " + Forms)
	}
}

func openMemory() (*Backend, error) {
	store, err := memstore.New(memstore.Config{})
	if err != nil {
		return nil, err
	}
	return &Backend{store, "memory", func(context.Context) error { return nil }, func() {}}, nil
}

func openService(url string, options Options) (*Backend, error) {
	service, err := client.New(url, client.Config{Token: options.Token, TLS: options.TLS, Timeout: options.Timeout})
	if err != nil {
		return nil, err
	}
	return &Backend{service, service.Name(), service.Check, service.Close}, nil
}
