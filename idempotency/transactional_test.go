package idempotency_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/pgstore"
)

// saying is a store that says whether it is transactional.
type saying struct {
	idempotency.Store
	transactional bool
}

func (s saying) Transactional() bool { return s.transactional }

// mute is a store that does not say.
type mute struct{ idempotency.Store }

func TestAStoreIsTransactionalOrRefusedWhereThatIsRequired(t *testing.T) {
	t.Parallel()
	memory, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	postgres := pgstore.New(nil)
	clusters, err := pgstore.NewRouter(map[string]*pgstore.Store{"a": postgres}, func(string) string { return "a" }, pgstore.RouterConfig{})
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		store idempotency.Store
		keeps bool
	}{
		"pgstore.Store":              {postgres, true},
		"pgstore.Router":             {clusters, true},
		"memstore.Store":             {memory, false},
		"a store that says it is":    {saying{memory, true}, true},
		"a store that says it isn't": {saying{postgres, false}, false},
		"a store that does not say":  {mute{postgres}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := idempotency.New(tt.store, idempotency.Config{})
			require.NoError(t, err, "without the requirement any store will do")
			engine, err := idempotency.New(tt.store, idempotency.Config{RequireTransactional: true})
			if tt.keeps {
				require.NoError(t, err)
				return
			}
			require.Nil(t, engine)
			require.ErrorContains(t, err, "Config.RequireTransactional")
			require.ErrorContains(t, err, "use pgstore")
		})
	}
}
