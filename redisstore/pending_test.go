package redisstore_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

// never is when a completer that is never tired gives up.
var never = idempotency.Due{Limit: 10_000, MaxCompletions: 1 << 20}

// neighbours are keys of one bucket.
func neighbours(store *redisstore.Store, many int) []idempotency.Key {
	var keys []idempotency.Key
	index := redisstore.Names(store, key)[1]
	for n := 0; len(keys) < many; n++ {
		k := idempotency.Key{Scope: "alice", Value: fmt.Sprint("neighbour-", n)}
		if redisstore.Names(store, k)[1] == index {
			keys = append(keys, k)
		}
	}
	return keys
}

func TestMorePendingKeysThanAPageAreAllFound(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	keys := neighbours(store, redisstore.Page+7)
	for i, k := range keys {
		p := idempotency.Progress{RecoveryPoint: "one", Attempt: 1}
		if i%3 == 0 {
			p.Completions = 9
		}
		require.NoError(t, claim(t, store, k).(idempotency.Chain).Yield(t.Context(), p))
	}
	due := never
	due.MaxCompletions = 9
	found, err := store.Pending(t.Context(), due)
	require.NoError(t, err)
	require.Equal(t, (len(keys)+2)/3, found.Stuck)
	at := 0
	for i, k := range keys { // the oldest first
		if i%3 != 0 {
			require.Equal(t, k, found.Keys[at].Key)
			at++
		}
	}
	require.Len(t, found.Keys, at)
}

func TestAPendingKeyThatSomebodyWorksOnIsNotListed(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	require.NoError(t, claim(t, store, key).(idempotency.Chain).Yield(t.Context(), idempotency.Progress{Attempt: 1}))
	listed := func() int {
		found, err := store.Pending(t.Context(), never)
		require.NoError(t, err)
		return len(found.Keys)
	}
	require.Equal(t, 1, listed())
	next := claim(t, store, key)
	require.Zero(t, listed())
	require.NoError(t, redisstore.Crash(next.Context(t.Context())))
	require.Equal(t, 1, listed(), "it has died before it kept anything")
}

func TestAPendingKeyThatIsDamagedIsGivenUpAndOneThatIsGoneIsNoMore(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, client func(t *testing.T) redis.UniversalClient) {
		store := open(t, client(t), redisstore.Config{})
		damages := []string{
			"fingerprint", "owner", "steps", "scope", "key", "since", "completions",
			"attempt=x", "completions=-1", "completions=99999999999", "scope=", "a string", "gone",
		}
		for _, name := range damages {
			k := idempotency.Key{Scope: "alice", Value: name}
			require.NoError(t, claim(t, store, k).(idempotency.Chain).Yield(t.Context(), idempotency.Progress{Attempt: 1}))
			c, row := redisstore.Client(store), store.Name(k)
			field, value, set := strings.Cut(name, "=")
			switch {
			case name == "gone":
				require.NoError(t, c.Del(t.Context(), row).Err())
			case name == "a string":
				require.NoError(t, c.Set(t.Context(), row, "x", 0).Err())
			case set:
				require.NoError(t, c.HSet(t.Context(), row, field, value).Err())
			default:
				require.EqualValues(t, 1, c.HDel(t.Context(), row, field).Val())
			}
		}
		good := idempotency.Key{Scope: "alice", Value: "good"}
		require.NoError(t, claim(t, store, good).(idempotency.Chain).Yield(t.Context(), idempotency.Progress{Attempt: 1}))
		found, err := store.Pending(t.Context(), never)
		require.NoError(t, err)
		require.Len(t, found.Keys, 1)
		require.Equal(t, good, found.Keys[0].Key)
		require.Equal(t, len(damages)-1, found.Stuck, "all but the one that is gone")
	})
}

func TestACompletedKeyKeepsNothingOfItsSteps(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	chain := claim(t, store, key).(idempotency.Chain)
	require.NoError(t, chain.Save(t.Context(), idempotency.Progress{RecoveryPoint: "one", Steps: []byte("s"), Request: []byte("secret"), Attempt: 1}, retention))
	require.NoError(t, chain.Begin(t.Context()))
	_, err := chain.Complete(t.Context(), record("done"), retention)
	require.NoError(t, err)
	c := redisstore.Client(store)
	fields, err := c.HKeys(t.Context(), store.Name(key)).Result()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"state", "by", "fingerprint", "status", "header", "body"}, fields)
	names := redisstore.Names(store, key)
	require.Zero(t, c.Exists(t.Context(), names[1], names[2]).Val(), "the index and the counts are empty")
}
