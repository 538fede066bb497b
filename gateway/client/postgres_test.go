package client_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/internal/pgtest"
)

func TestAClientOfAServiceOnPostgresLendsKeys(t *testing.T) {
	t.Parallel()
	storetest.RunLeases(t, func(t *testing.T) storetest.Subject {
		url := pgtest.SchemaURL(t, pgtest.Schema(t))
		b, err := backend.Open(t.Context(), url, backend.Options{})
		require.NoError(t, err)
		t.Cleanup(b.Close)
		pool, err := pgxpool.New(t.Context(), url)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		update := func(set string) func(context.Context, idempotency.Key) error {
			return func(ctx context.Context, key idempotency.Key) error {
				tag, err := pool.Exec(ctx, "UPDATE idempotency_keys SET "+set+" WHERE scope = $1 AND key = $2", key.Scope, key.Value)
				if err == nil && tag.RowsAffected() != 1 {
					err = fmt.Errorf("%d rows", tag.RowsAffected())
				}
				return err
			}
		}
		one, other := serve(t, b.Leaser), serve(t, b.Leaser) // two services on one database
		return storetest.Subject{
			Store: lends{dial(t, one), b.Leaser}, Peer: lends{dial(t, other), b.Leaser},
			Expire: update("expires_at = now() - interval '1 second', leased_until = leased_until - interval '1 day'"), EndLease: update("leased_until = now() - interval '1 second'"),
			ComparesExactly: true, LeasesOnly: true,
		}
	})
}
