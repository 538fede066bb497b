package idempotency_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// partial is a store of which a part cannot be asked.
type partial struct {
	*memstore.Store
	keys []idempotency.Pending
}

func (p partial) Pending(context.Context, idempotency.Due) (idempotency.PendingKeys, error) {
	return idempotency.PendingKeys{Keys: p.keys, Stuck: 3}, idempotency.ErrStoreUnavailable.Because(errors.New("half of it is down"))
}

func TestACompleterResumesWhatAStoreListsBesideAnError(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string][]idempotency.Pending{
		"nothing": nil, "one": {{Key: idempotency.Key{Scope: "alice", Value: "1"}, Progress: idempotency.Progress{Attempt: 1}}},
	} {
		store, err := memstore.New(memstore.Config{})
		require.NoError(t, err)
		engine, err := idempotency.New(partial{store, keys}, idempotency.Config{})
		require.NoError(t, err)
		resumed := 0
		completer, err := idempotency.NewCompleter(engine, func(context.Context, idempotency.Pending) error {
			resumed++
			return nil
		}, idempotency.CompleterConfig{})
		require.NoError(t, err)
		pass, err := completer.Pass(t.Context())
		require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
		require.Equal(t, len(keys), resumed, name)
		require.Equal(t, idempotency.Pass{Found: len(keys), Pending: len(keys), Stuck: 3}, pass)
	}
}
