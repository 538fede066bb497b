package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// pods are two clusters. Scopes are routed by the name before the first dash, if it is one's, and else by hash.
type pods struct {
	*testing.T
	clusters map[string]*lonely
	tests    atomic.Int64
}

var podNames = []string{"east", "west"}

func newPods(t *testing.T) *pods {
	p := &pods{T: t, clusters: map[string]*lonely{}}
	for _, name := range podNames {
		p.clusters[name] = newLonely(t)
		p.clusters[name].exec(`CREATE TABLE effects (name text NOT NULL)`)
	}
	return p
}

func podOf(scope string) string {
	if name, _, _ := strings.Cut(scope, "-"); slices.Contains(podNames, name) {
		return name
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(scope))
	return podNames[sum.Sum32()%2]
}

// router opens one over schemas of its own, "" for public.
func (p *pods) router(t *testing.T, schema string, lock pgstore.Lock) (*pgstore.Router, map[string]*pgxpool.Pool) {
	t.Helper()
	stores, pools := map[string]*pgstore.Store{}, map[string]*pgxpool.Pool{}
	for name, cluster := range p.clusters {
		config, err := pgxpool.ParseConfig(cluster.url)
		require.NoError(t, err)
		config.MaxConns = 4
		if schema != "" {
			config.ConnConfig.RuntimeParams["search_path"] = schema
		}
		require.NoError(t, pgstore.Configure(config, pgstore.PoolConfig{}))
		pools[name], err = pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pools[name].Close)
		stores[name], err = pgstore.NewWithConfig(pools[name], pgstore.Config{Schema: schema, Lock: lock})
		require.NoError(t, err)
	}
	router, err := pgstore.NewRouter(stores, podOf, pgstore.RouterConfig{Keyless: func(ctx context.Context) string { return "east" }})
	require.NoError(t, err)
	return router, pools
}

// onAll sums up what a statement does, or counts, in all clusters.
func onAll(ctx context.Context, pools map[string]*pgxpool.Pool, sql string, args ...any) (sum int, err error) {
	for _, pool := range pools {
		var n int
		if err := pool.QueryRow(ctx, sql, args...).Scan(&n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func one(n int, err error) error {
	if err == nil && n != 1 {
		err = fmt.Errorf("%d rows, not one", n)
	}
	return err
}

func TestARouterConforms(t *testing.T) {
	t.Parallel()
	p := newPods(t)
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		schema := fmt.Sprint("test_", p.tests.Add(1))
		for _, cluster := range p.clusters {
			cluster.exec(`CREATE SCHEMA `+schema, `CREATE TABLE `+schema+`.idempotency_keys (LIKE idempotency_keys INCLUDING ALL)`,
				`CREATE TABLE `+schema+`.effects (name text NOT NULL)`)
		}
		store, pools := p.router(t, schema, "")
		peer, _ := p.router(t, schema, "")
		return storetest.Subject{
			Store: store, Peer: peer,
			Expire: func(ctx context.Context, key idempotency.Key) error {
				return one(onAll(ctx, pools, `WITH done AS (UPDATE idempotency_keys SET expires_at = now() - interval '1 second',
					leased_until = leased_until - interval '1 day' WHERE scope = $1 AND key = $2 RETURNING 1)
					SELECT count(*) FROM done`, key.Scope, key.Value))
			},
			EndLease: func(ctx context.Context, key idempotency.Key) error {
				return one(onAll(ctx, pools, `WITH done AS (UPDATE idempotency_keys SET leased_until = now() - interval '1 second' WHERE scope = $1 AND key = $2
					AND state = 'pending' RETURNING 1) SELECT count(*) FROM done`, key.Scope, key.Value))
			},
			Write: write,
			Effects: func(ctx context.Context, name string) (int, error) {
				return onAll(ctx, pools, `SELECT count(*) FROM effects WHERE name = $1`, name)
			},
			Crash: func(ctx context.Context) error {
				conn := pgstore.Tx(ctx).Conn()
				for _, pool := range pools {
					if pool.Config().ConnConfig.Port == conn.Config().Port {
						return crash(ctx, pool, conn.PgConn().PID())
					}
				}
				return errors.New("no cluster has this port")
			},
		}
	})
}

func podKey(scope, value string) idempotency.Request {
	return idempotency.Request{Key: idempotency.Key{Scope: scope, Value: value}}
}

func effect(name string) idempotency.Handler {
	return func(ctx context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 201, Body: []byte(name)}, write(ctx, name)
	}
}

func TestOneKeyOfTwoScopesIsTwoKeysInTwoClusters(t *testing.T) {
	t.Parallel()
	p := newPods(t)
	router, pools := p.router(t, "", "")
	require.NoError(t, router.Check(t.Context()))
	engine, err := idempotency.New(router, idempotency.Config{})
	require.NoError(t, err)
	for range 2 {
		for _, scope := range []string{"east-alice", "west-alice"} {
			result, err := engine.Run(t.Context(), podKey(scope, "payment-1"), effect(scope))
			require.NoError(t, err)
			require.Equal(t, scope, string(result.Response.Body))
		}
	}
	for _, name := range podNames {
		var effects string
		require.NoError(t, pools[name].QueryRow(t.Context(), `SELECT string_agg(name, ',') FROM effects`).Scan(&effects))
		require.Equal(t, name+"-alice", effects)
		held, err := router.Held(t.Context(), name+"-alice")
		require.NoError(t, err)
		require.Equal(t, []string{name}, held)
	}
	_, err = pools["west"].Exec(t.Context(), `UPDATE idempotency_keys SET expires_at = now()`)
	require.NoError(t, err)
	held, err := router.Held(t.Context(), "west-alice")
	require.NoError(t, err)
	require.Empty(t, held)

	_, err = engine.RunWithoutKey(t.Context(), effect("keyless"))
	require.NoError(t, err)
	n, err := onAll(t.Context(), map[string]*pgxpool.Pool{"east": pools["east"]}, `SELECT count(*) FROM effects WHERE name = 'keyless'`)
	require.NoError(t, one(n, err))
}

func TestAScopeThatHasNoClusterRunsNothing(t *testing.T) {
	t.Parallel()
	stores := map[string]*pgstore.Store{"east": pgstore.New(nil)}
	route := map[string]string{"unknown": "north", "moving": ""}
	router, err := pgstore.NewRouter(stores, func(scope string) string { return route[scope] }, pgstore.RouterConfig{})
	require.NoError(t, err)
	engine, err := idempotency.New(router, idempotency.Config{})
	require.NoError(t, err)
	never := func(context.Context) (idempotency.Response, error) {
		t.Error("the handler ran")
		return idempotency.Response{}, nil
	}
	_, err = engine.Run(t.Context(), podKey("unknown", "1"), never)
	require.ErrorIs(t, err, idempotency.ErrInternal)
	require.ErrorContains(t, err, `sent to cluster "north", and has ["east"]`)
	_, err = engine.Run(t.Context(), podKey("moving", "1"), never)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	_, err = engine.RunWithoutKey(t.Context(), never)
	require.ErrorContains(t, err, "set RouterConfig.Keyless")
	_, err = router.Lookup(t.Context(), idempotency.Key{Scope: "moving", Value: "1"})
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)

	_, err = pgstore.NewRouter(nil, podOf, pgstore.RouterConfig{})
	require.ErrorContains(t, err, "NewRouter needs stores")
	_, err = pgstore.NewRouter(map[string]*pgstore.Store{"east": nil}, podOf, pgstore.RouterConfig{})
	require.ErrorContains(t, err, "every cluster needs a store and a name")
}

func TestAClusterThatIsDownKeepsTheOthersFromNothing(t *testing.T) {
	t.Parallel()
	p := newPods(t)
	router, pools := p.router(t, "", "")
	var mu sync.Mutex
	var failures []error
	engine, err := idempotency.New(router, idempotency.Config{ReapBatch: 2, Observer: func(_ context.Context, e idempotency.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == idempotency.Failed {
			failures = append(failures, e.Err)
		}
	}})
	require.NoError(t, err)
	final := 503
	handler := func(ctx context.Context) (idempotency.Response, error) {
		if err := step(ctx, "one"); err != nil {
			return idempotency.Response{}, err
		}
		return idempotency.Response{Status: final}, nil
	}
	for _, scope := range []string{"east-alice", "west-alice"} {
		_, err := engine.Run(t.Context(), podKey(scope, "chain"), handler)
		require.NoError(t, err)
		for n := range 5 {
			_, err := engine.Run(t.Context(), podKey(scope, fmt.Sprint(n)), effect("over"))
			require.NoError(t, err)
		}
		_, err = pools[podOf(scope)].Exec(t.Context(), `UPDATE idempotency_keys SET expires_at = now() WHERE state = 'completed'`)
		require.NoError(t, err)
	}
	final = 201
	completer, err := idempotency.NewCompleter(engine, func(ctx context.Context, pending idempotency.Pending) error {
		_, err := engine.Run(ctx, idempotency.Request{Key: pending.Key}, handler)
		return err
	}, idempotency.CompleterConfig{})
	require.NoError(t, err)

	require.NoError(t, p.clusters["west"].cluster.Kill())
	require.Eventually(t, func() bool { return router.Check(t.Context()) != nil }, 30e9, 10e6, "a backend may outlive its postmaster for an instant")
	require.ErrorContains(t, router.Check(t.Context()), `cluster "west"`)
	require.NotContains(t, router.Check(t.Context()).Error(), "east")
	_, err = engine.Run(t.Context(), podKey("west-bob", "1"), effect("west"))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	_, err = engine.Run(t.Context(), podKey("east-bob", "1"), effect("east"))
	require.NoError(t, err)

	deleted, err := engine.Reap(t.Context())
	require.ErrorContains(t, err, `cluster "west"`)
	require.Equal(t, 5, deleted, "all of the other's, in batches of two")
	pass, err := completer.Pass(t.Context())
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.Equal(t, idempotency.Pass{Found: 1, Completed: 1}, pass)
	mu.Lock()
	require.Len(t, failures, 3, "the request, the reaper and the completer say so")
	mu.Unlock()

	require.NoError(t, p.clusters["west"].cluster.StartAgain(t.Context()))
	require.Eventually(t, func() bool { return router.Check(t.Context()) == nil }, 30e9, 10e6)
	deleted, err = engine.Reap(t.Context())
	require.NoError(t, err)
	require.Equal(t, 5, deleted)
	pass, err = completer.Pass(t.Context())
	require.NoError(t, err)
	require.Equal(t, idempotency.Pass{Found: 1, Completed: 1}, pass)
	n, err := onAll(t.Context(), pools, `SELECT count(*) FROM effects WHERE name = 'one'`)
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

func TestPendingKeysOfEveryClusterHaveTheirTurn(t *testing.T) {
	t.Parallel()
	p := newPods(t)
	router, pools := p.router(t, "", "")
	for name, count := range map[string]int{"east": 50, "west": 2} {
		_, err := pools[name].Exec(t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, owner, created_at, leased_until)
			SELECT $1, n::text, 'pending', decode(repeat('01', 33), 'hex'), decode(repeat('01', 16), 'hex'), now() + n * interval '1 second', now() FROM generate_series(1, $2) n`, name+"-alice", count)
		require.NoError(t, err)
	}
	found, err := router.Pending(t.Context(), idempotency.Due{Limit: 6, MaxCompletions: 10})
	require.NoError(t, err)
	var order []string
	for _, key := range found.Keys {
		order = append(order, key.Key.Scope+" "+key.Key.Value)
	}
	require.Equal(t, []string{"east-alice 1", "west-alice 1", "east-alice 2", "west-alice 2", "east-alice 3", "east-alice 4"}, order)

	for range 2 { // each is reaped first in its turn
		_, err = onAll(t.Context(), pools, `WITH done AS (UPDATE idempotency_keys SET state = 'completed', expires_at = now() RETURNING 1) SELECT count(*) FROM done`)
		require.NoError(t, err)
		reaped, err := router.Reap(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, idempotency.Reaped{Deleted: 2}, reaped)
	}
	left, err := onAll(t.Context(), map[string]*pgxpool.Pool{"west": pools["west"]}, `SELECT count(*) FROM idempotency_keys`)
	require.NoError(t, err)
	require.Zero(t, left)
}

func TestHeldCountsWhatHasNoEnd(t *testing.T) {
	t.Parallel()
	p := newPods(t)
	router, pools := p.router(t, "", "")
	_, err := pools["west"].Exec(t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at)
		VALUES ('west-alice', '1', 'completed', decode(repeat('01', 33), 'hex'), 201, '', '', now(), now())`)
	require.NoError(t, err)
	record, err := router.Lookup(t.Context(), idempotency.Key{Scope: "west-alice", Value: "1"})
	require.NoError(t, err)
	require.NotNil(t, record, "it is replayed")
	held, err := router.Held(t.Context(), "west-alice")
	require.NoError(t, err)
	require.Equal(t, []string{"west"}, held)
}

func TestNoClusterIsPassedOverByABatchThatIsSmall(t *testing.T) {
	t.Parallel()
	p := newPods(t)
	router, pools := p.router(t, "", "")
	for name, pool := range pools {
		_, err := pool.Exec(t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, owner, created_at, leased_until)
			SELECT $1, n::text, 'pending', decode(repeat('01', 33), 'hex'), decode(repeat('01', 16), 'hex'), now(), now() FROM generate_series(1, 9) n`, name+"-alice")
		require.NoError(t, err)
	}
	var scopes []string
	for range 4 {
		found, err := router.Pending(t.Context(), idempotency.Due{Limit: 1, MaxCompletions: 10})
		require.NoError(t, err)
		scopes = append(scopes, found.Keys[0].Key.Scope)
	}
	require.Equal(t, []string{"east-alice", "west-alice", "east-alice", "west-alice"}, scopes)
}
