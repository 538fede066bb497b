package pgstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/onlyonce/onlyonce/idempotency"
)

// RouterConfig configures a [Router]. The zero value works; [NewRouter] copies it.
type RouterConfig struct {
	// Keyless names the cluster for a request without a key, by what the context of the request has: such a request has no scope. It must be the
	// one that Route names for the caller. nil: requests without a key fail, and their handlers do not run.
	Keyless func(ctx context.Context) string
}

// Router is one store over several PostgreSQL clusters (pods, cells), each of which has all that belongs to some scopes: their keys, and the
// tables that handlers write to. A handler's transaction is one of its scope's cluster, by [Tx] as ever, and is one commit there. The clusters
// know nothing of each other.
//
// A key is where its scope is. Were a scope to be found in another cluster from one request to the next, a retry would
// run again there what took effect here, and nothing could tell. So all processes must have the same answer for a scope, as
// long as keys of it are kept; docs/scaling.md has how a scope is moved.
type Router struct {
	clusters map[string]*Store
	names    []string // sorted
	route    func(scope string) string
	config   RouterConfig

	mu      sync.Mutex
	turn    int              // which cluster is reaped first
	asked   atomic.Uint64    // and whose pending keys come first
	unheard map[string]error // by cluster: what reaping it has failed with, and nobody has been told yet
}

var (
	_ idempotency.Recoverer     = (*Router)(nil)
	_ idempotency.Transactional = (*Router)(nil)
	_ idempotency.Leaser        = (*Router)(nil)
)

// NewRouter returns a Router over stores, each under the name of its cluster. route names the cluster of a scope. It is called for every request, by
// many goroutines, and must be quick and always give the same answer; "" says that the scope is nowhere just now, for as long as it
// is moved. It opens no connection; call [Router.Check] at start.
func NewRouter(stores map[string]*Store, route func(scope string) string, config RouterConfig) (*Router, error) {
	if len(stores) == 0 || route == nil {
		return nil, errors.New("pgstore: NewRouter needs stores, and a function that names one of them for a scope")
	}
	for name, store := range stores {
		if name == "" || store == nil {
			return nil, fmt.Errorf("pgstore: NewRouter was given %T %v as %q: every cluster needs a store and a name", store, store, name)
		}
	}
	return &Router{
		clusters: maps.Clone(stores), names: slices.Sorted(maps.Keys(stores)), route: route, config: config, unheard: map[string]error{},
	}, nil
}

// Transactional reports true: every cluster is a [Store].
func (r *Router) Transactional() bool { return true }

// cluster returns the store of a cluster.
func (r *Router) cluster(name string) (*Store, error) {
	if store, ok := r.clusters[name]; ok {
		return store, nil
	}
	if name == "" {
		return nil, idempotency.ErrStoreUnavailable.Because(errors.New("pgstore: the Router's route says that the scope is in no cluster now"))
	}
	return nil, idempotency.ErrInternal.Because(fmt.Errorf("pgstore: the Router was sent to cluster %q, and has %q: the handler did not run", name, r.names))
}

// Claim claims the key in the cluster of its scope.
func (r *Router) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	store, err := r.cluster(r.route(key.Scope))
	if err != nil {
		return nil, nil, err
	}
	return store.Claim(ctx, key)
}

// Lookup reads the key in the cluster of its scope.
func (r *Router) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	store, err := r.cluster(r.route(key.Scope))
	if err != nil {
		return nil, err
	}
	return store.Lookup(ctx, key)
}

// Begin begins a transaction in the cluster that RouterConfig.Keyless names.
func (r *Router) Begin(ctx context.Context) (idempotency.Attempt, error) {
	if r.config.Keyless == nil {
		return nil, idempotency.ErrInternal.Because(errors.New("pgstore: a request without a key has no scope to route by: set RouterConfig.Keyless, or require the key"))
	}
	store, err := r.cluster(r.config.Keyless(ctx))
	if err != nil {
		return nil, err
	}
	return store.Begin(ctx)
}

// Check checks every cluster, and names those that are not well.
func (r *Router) Check(ctx context.Context) error {
	return r.all(func(_ int, _ string, store *Store) error { return store.Check(ctx) })
}

// Held names the clusters that have keys of scope which count: pending, or completed and not expired. Before a scope gets another cluster, no
// other one may.
func (r *Router) Held(ctx context.Context, scope string) ([]string, error) {
	held := make([]bool, len(r.names))
	err := r.all(func(i int, _ string, store *Store) error {
		ctx, cancel := store.bounded(ctx)
		defer cancel()
		conn, err := store.acquire(ctx)
		if err != nil {
			return refusedBy(err)
		}
		defer conn.Release()
		if err := conn.QueryRow(ctx, store.sql.held, scope).Scan(&held[i]); err != nil {
			return refusedBy(err)
		}
		return nil
	})
	var names []string
	for i, name := range r.names {
		if held[i] {
			names = append(names, name)
		}
	}
	return names, unavailable(err)
}

// all does something to all clusters at once, and joins their errors.
func (r *Router) all(do func(i int, name string, store *Store) error) error {
	errs := make([]error, len(r.names))
	var every sync.WaitGroup
	for i, name := range r.names {
		every.Go(func() { errs[i] = inCluster(name, do(i, name, r.clusters[name])) })
	}
	every.Wait()
	return errors.Join(errs...)
}

// unavailable keeps the names of the clusters in what an engine takes for the error.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return idempotency.ErrStoreUnavailable.Because(err)
}

func inCluster(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pgstore: cluster %q: %w", name, err)
}

// Reap deletes up to limit expired records of all clusters, in turn. A cluster that fails keeps nobody else from it: its error is returned when there is
// nothing left to delete in the others.
func (r *Router) Reap(ctx context.Context, limit int) (idempotency.Reaped, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var reaped idempotency.Reaped
	busy := 0
	first := r.turn
	for i := range r.names {
		name := r.names[(first+i)%len(r.names)]
		if r.unheard[name] != nil {
			continue
		}
		if reaped.Deleted >= limit {
			return reaped, nil
		}
		r.turn = (first + i + 1) % len(r.names)
		one, err := r.clusters[name].Reap(ctx, limit-reaped.Deleted)
		if err != nil {
			r.unheard[name] = inCluster(name, err)
			continue
		}
		reaped.Deleted += one.Deleted
		if one.Busy {
			busy++
		}
	}
	if reaped.Deleted >= limit {
		return reaped, nil
	}
	reaped.Busy = busy == len(r.names)
	var errs []error
	for _, name := range r.names {
		errs = append(errs, r.unheard[name])
	}
	clear(r.unheard)
	return reaped, unavailable(errors.Join(errs...))
}

// Pending lists the pending keys of all clusters, by turns the oldest of each, and counts their stuck ones. Where not all have room, the next
// call begins with the cluster whose turn it would have been. With an error it lists those of the
// clusters that could be asked.
func (r *Router) Pending(ctx context.Context, due idempotency.Due) (idempotency.PendingKeys, error) {
	found := make([]idempotency.PendingKeys, len(r.names))
	err := r.all(func(i int, _ string, store *Store) (err error) {
		found[i], err = store.Pending(ctx, due)
		return err
	})
	var all idempotency.PendingKeys
	for _, of := range found {
		all.Stuck += of.Stuck
	}
	first := int(r.asked.Load())
	for turn := 0; len(all.Keys) < due.Limit; turn++ {
		more := false
		for i := range found {
			at := (first + i) % len(found)
			if of := found[at]; turn < len(of.Keys) && len(all.Keys) < due.Limit {
				all.Keys = append(all.Keys, of.Keys[turn])
				more = true
				r.asked.Store(uint64((at + 1) % len(found)))
			}
		}
		if !more {
			break
		}
	}
	return all, unavailable(err)
}
