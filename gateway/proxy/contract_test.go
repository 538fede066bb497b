package proxy_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/leased"
	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/pgstore"
)

// damageable is a store of leases whose records can be damaged.
type damageable struct {
	*leased.Store
	mu      sync.Mutex
	damaged map[idempotency.Key]idempotency.Response
}

func (d *damageable) Damage(key idempotency.Key, response idempotency.Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.damaged[key] = response
}

func (d *damageable) ClaimAs(ctx context.Context, key idempotency.Key, identity idempotency.Identity) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := d.Store.ClaimAs(ctx, key, identity)
	return attempt, d.asItIs(key, record), err
}

func (d *damageable) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	record, err := d.Store.Lookup(ctx, key)
	return d.asItIs(key, record), err
}

func (d *damageable) asItIs(key idempotency.Key, record *idempotency.Record) *idempotency.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	if response, found := d.damaged[key]; found && record != nil {
		return &idempotency.Record{Fingerprint: record.Fingerprint, Response: response, Left: record.Left}
	}
	return record
}

func onLeases(t *testing.T, lender idempotency.Leaser) httpcontract.Damageable {
	store, err := leased.New(lender, leased.Config{Lease: time.Hour})
	require.NoError(t, err)
	return &damageable{Store: store, damaged: map[idempotency.Key]idempotency.Response{}}
}

const (
	apart    = "the handler is in another process, and its server's writer and its panics are not the adapter's"
	lengths  = "an upstream's server sends as many bytes as it has announced, or the answer is cut and its outcome unknown"
	trailers = "a gateway does not forward trailers: they are no part of a stored request or response"
	hops     = "a gateway takes away what belongs to its connection to the upstream"
	rollback = "an upstream's effect is not rolled back, so that a large answer is replaced by one that says what has happened"
)

// without are the tests that are about a handler in the same process. What is true of the same troubles in an upstream is in fates_test.go.
var without = map[string]string{
	"a handler that aborts answers nothing and frees the key":      apart,
	"no way leads past the response that is kept":                  apart,
	"what an outer middleware sets is not stored":                  apart,
	"a panic leaves no header behind":                              apart,
	"a panic goes on and frees the key":                            apart,
	"a goroutine that ends frees the key":                          apart,
	"a key is told to nobody":                                      apart,
	"a protected handler inside another one is refused":            apart,
	"a handler can move the connection's deadlines":                apart,
	"flushing and hijacking are refused":                           apart,
	"a byte that is written late goes nowhere":                     apart,
	"a status that is none panics as it does without":              apart,
	"a request without a key has a transaction and no memory":      apart,
	"other methods pass through":                                   apart,
	"a response to HEAD has no body":                               apart,
	"every answer has one length, whatever the handler says of it": lengths,
	"a length that is wrong is put right":                          lengths,
	"trailers come by HTTP/2 too":                                  trailers,
	"trailers reach the handler and tell no requests apart":        trailers,
	"how a body is framed does not matter":                         trailers,
	"a replay repeats what is on the list and nothing else":        hops,
	"a response may be as large as the limit and no larger":        rollback,
}

func TestTheContractInFrontOfAnUpstream(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var upstreams []*httptest.Server
	t.Cleanup(func() {
		for _, upstream := range upstreams {
			upstream.CloseClientConnections()
			upstream.Close()
		}
	})
	httpcontract.Run(t, httpcontract.Adapter{
		Without:      without,
		UUIDOnly:     nethttp.UUIDOnly,
		MinLength:    nethttp.MinLength,
		WriteProblem: nethttp.WriteProblem,
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			protect, err := nethttp.Middleware(engine, nethttp.Config(config))
			if err != nil {
				return nil, err
			}
			upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Date"] = nil // answers are compared, and two seconds are not the same
				next(w, r)
			}))
			upstream.Config.ErrorLog = silent
			upstream.Start()
			mu.Lock()
			upstreams = append(upstreams, upstream)
			mu.Unlock()
			return proxy.Front(upstream.URL, config.Methods, protect)
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			return nethttp.Resume(handler, nethttp.ResumeConfig(config))
		},
		Stores: []httpcontract.Store{
			{Name: "leased in memory", Open: func(t *testing.T) httpcontract.Damageable {
				store, err := memstore.New(memstore.Config{})
				require.NoError(t, err)
				return onLeases(t, store)
			}},
			{Name: "leased on Postgres", Open: func(t *testing.T) httpcontract.Damageable {
				schema := pgtest.Schema(t)
				store, err := pgstore.NewWithConfig(pgtest.Pool(t, schema), pgstore.Config{Schema: schema})
				require.NoError(t, err)
				return onLeases(t, store)
			}},
		},
	})
}
