package pgstore

import (
	"context"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Acquire lends the key in the cluster of its scope.
func (r *Router) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	store, err := r.cluster(r.route(key.Scope))
	if err != nil {
		return nil, nil, err
	}
	return store.Acquire(ctx, key, terms)
}

// Settle ends the loan in the cluster of the key's scope.
func (r *Router) Settle(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration) (again bool, err error) {
	store, err := r.cluster(r.route(key.Scope))
	if err != nil {
		return false, err
	}
	return store.Settle(ctx, key, owner, record, retention)
}

// Extend moves the end of the lease in the cluster of the key's scope.
func (r *Router) Extend(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, lease time.Duration) error {
	store, err := r.cluster(r.route(key.Scope))
	if err != nil {
		return err
	}
	return store.Extend(ctx, key, owner, lease)
}

// Free ends the loan in the cluster of the key's scope.
func (r *Router) Free(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken) error {
	store, err := r.cluster(r.route(key.Scope))
	if err != nil {
		return err
	}
	return store.Free(ctx, key, owner)
}
