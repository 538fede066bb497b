package redisstore_test

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

// delayed is a server whose replies take so long to come.
func delayed(t *testing.T, server string, by *atomic.Int64) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				return
			}
			go pass(client, upstream, new(atomic.Int64))
			go pass(upstream, client, by)
		}
	}()
	return listener.Addr().String()
}

// pass passes on what comes, each piece after a while.
func pass(from, to net.Conn, after *atomic.Int64) {
	defer to.Close()
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			time.Sleep(time.Duration(after.Load())) // which is what this line is like
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func TestAClaimThatIsAnsweredTooLateToBeRenewedIsGivenBack(t *testing.T) {
	t.Parallel()
	options, err := single()
	orSkip(t, err)
	const lease = 3 * time.Second
	var delay atomic.Int64
	store := open(t, at(t, delayed(t, options.Addr, &delay)), redisstore.Config{Lease: lease})
	warm := idempotency.Key{Scope: key.Scope, Value: "warm"}
	_, err = claim(t, store, warm).Complete(t.Context(), record("warm"), retention) // with connections made, and scripts loaded
	require.NoError(t, err)
	delay.Store(int64(lease * 7 / 10))
	_, _, err = store.Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	rival := open(t, client(t), redisstore.Config{Lease: lease, Prefix: redisstore.Prefix(store)})
	claim(t, rival, key)
}

// A line that swallows one request, and says nothing of it, is given up while there is time for another one.
func TestAConnectionThatFallsSilentDoesNotCostTheLease(t *testing.T) {
	t.Parallel()
	options, err := single()
	orSkip(t, err)
	const lease = 3 * time.Second
	var delay atomic.Int64
	store := open(t, at(t, delayed(t, options.Addr, &delay)), redisstore.Config{Lease: lease})
	rival := open(t, client(t), redisstore.Config{Lease: lease, Prefix: redisstore.Prefix(store)})
	running := claim(t, store, key).Context(t.Context())
	delay.Store(int64(time.Hour)) // for what is under way: the piece that comes next is never passed on
	for began := time.Now(); time.Since(began) < 2*lease; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > lease*2/5 { // the first renewal has been swallowed
			delay.Store(0)
		}
		taken, _, err := rival.Claim(t.Context(), key)
		require.ErrorIs(t, err, idempotency.ErrInProgress, "another attempt got the key while the first one's handler runs: %v", running.Err())
		require.Nil(t, taken)
	}
	require.NoError(t, running.Err())
}

// Redis does not undo what a script has written before it failed.
func TestARecoveryPointThatFailsHalfWayLeavesNoKeyStuck(t *testing.T) {
	t.Parallel()
	server := own(t)
	admin := at(t, server.Address)
	rules := []any{"acl", "setuser", "limited", "on", ">secret"}
	for _, rule := range strings.Fields(documented(t)) {
		if rule != "+hincrby" {
			rules = append(rules, rule)
		}
	}
	require.NoError(t, admin.Do(t.Context(), rules...).Err())
	store := open(t, at(t, server.Address, func(o *redis.Options) { o.Username, o.Password = "limited", "secret" }), redisstore.Config{Prefix: "limited", AnyPersistence: true})
	attempt := claim(t, store, key).(idempotency.Chain)
	require.Error(t, attempt.Save(t.Context(), idempotency.Progress{RecoveryPoint: "one", Attempt: 1}, time.Second))
	require.NoError(t, attempt.Release(t.Context()))

	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "limited", "+hincrby").Err())
	next := claim(t, store, key)
	_, err := next.Complete(t.Context(), record("done"), retention)
	require.NoError(t, err)
}
