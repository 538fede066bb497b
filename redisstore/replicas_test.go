package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

func TestReplicasHaveWhatWasClaimedAndCompleted(t *testing.T) {
	t.Parallel()
	master := own(t, "--repl-diskless-sync-delay", "0")
	host, port := hostAndPort(t, master.Address)
	replica := own(t, "--replicaof", host+" "+port)
	reads := at(t, replica.Address)
	linked := func() bool {
		return strings.Contains(reads.Info(t.Context(), "replication").Val(), "master_link_status:up")
	}
	require.Eventually(t, linked, patience, 10*time.Millisecond)

	client := at(t, master.Address)
	store := open(t, client, redisstore.Config{Replicas: 1, AnyPersistence: true, ReplicaTimeout: 4 * time.Second})
	require.NoError(t, store.Check(t.Context()))
	has := func(state string) {
		t.Helper()
		require.Equal(t, state, reads.HGet(t.Context(), store.Name(key), "state").Val())
	}
	chain := claim(t, store, key).(idempotency.Chain)
	has("claimed")
	require.NoError(t, chain.Save(t.Context(), idempotency.Progress{Attempt: 1}, retention))
	has("pending")
	_, err := chain.Complete(t.Context(), record("done"), retention)
	require.NoError(t, err)
	has("completed")
	require.NoError(t, client.ScriptFlush(t.Context()).Err())
	complete(t, store, idempotency.Key{Scope: "alice", Value: "after a flush"}, "done")

	// Without the replica nothing new begins, and of what ends it is not known whether it lasts.
	short := open(t, client, redisstore.Config{Prefix: redisstore.Prefix(store), Replicas: 1, ReadBackTimeout: time.Second})
	begun := claim(t, short, idempotency.Key{Scope: "alice", Value: "begun"})
	require.NoError(t, replica.Kill())
	require.Eventually(t, func() bool {
		return strings.Contains(client.Info(t.Context(), "replication").Val(), "connected_slaves:0")
	}, patience, 10*time.Millisecond)
	another := idempotency.Key{Scope: "alice", Value: "another"}
	_, _, err = short.Claim(t.Context(), another)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorContains(t, err, "0 of 1 replicas")
	require.Zero(t, client.Exists(t.Context(), short.Name(another)).Val(), "the claim was not given back")
	_, err = begun.Complete(t.Context(), record("begun"), retention)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	answers(t, short, key, record("done"))
}

// A cluster's WAIT has to go to the node that has written.
func TestInAClusterReplicasAreThoseOfTheNodeThatHasWritten(t *testing.T) {
	t.Parallel()
	store := open(t, clustered(t), redisstore.Config{Replicas: 1, ReplicaTimeout: 10 * time.Millisecond})
	for _, key := range odd {
		_, _, err := store.Claim(t.Context(), key)
		require.ErrorContains(t, err, "0 of 1 replicas")
		require.Zero(t, redisstore.Client(store).Exists(t.Context(), store.Name(key)).Val())
	}
}
