package redisstore_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

func TestAServerThatRestartsMidAttemptHasTheClaimIfItIsOnDisk(t *testing.T) {
	t.Parallel()
	server := own(t, "--appendonly", "yes", "--appendfsync", "always")
	store := open(t, at(t, server.Address), redisstore.Config{})
	before := complete(t, store, idempotency.Key{Scope: "alice", Value: "before"}, "before")
	attempt := claim(t, store, key)
	chain := claim(t, store, idempotency.Key{Scope: "alice", Value: "chain"}).(idempotency.Chain)
	require.NoError(t, chain.Save(t.Context(), idempotency.Progress{RecoveryPoint: "one", Attempt: 1}, retention))
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	_, _, err := store.Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	for _, a := range []idempotency.Attempt{attempt, chain} {
		want := record("after")
		settled, err := a.Complete(t.Context(), want, retention)
		require.NoError(t, err)
		require.Same(t, want, settled.Record)
	}
	answers(t, store, key, record("after"))
	answers(t, store, idempotency.Key{Scope: "alice", Value: "before"}, before)
}

// failing tells when a command has failed.
type failing struct{ first chan struct{} }

func (failing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err != nil {
			select {
			case f.first <- struct{}{}:
			default:
			}
		}
		return err
	}
}

func (failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestACompletionWaitsForAServerThatRestarts(t *testing.T) {
	t.Parallel()
	server := own(t, "--appendonly", "yes", "--appendfsync", "always")
	client := at(t, server.Address, once, func(o *redis.Options) { o.DialerRetries = 1 })
	store := open(t, client, redisstore.Config{ReadBackTimeout: patience})
	attempt := claim(t, store, key)
	require.NoError(t, server.Kill())
	failed, restarted := failing{make(chan struct{}, 1)}, make(chan error, 1)
	client.AddHook(failed)
	go func() {
		<-failed.first // and not before the completion has failed once
		restarted <- server.Restart(t.Context())
	}()
	want := record("after")
	settled, err := attempt.Complete(t.Context(), want, retention)
	require.NoError(t, <-restarted)
	require.NoError(t, err)
	require.Same(t, want, settled.Record)
	answers(t, store, key, want)
}

// What was forgotten is not stored either: it may be another attempt's by now.
func TestAServerThatForgetsAClaimRefusesItsCompletion(t *testing.T) {
	t.Parallel()
	server := own(t)
	store := open(t, at(t, server.Address), redisstore.Config{})
	attempt := claim(t, store, key)
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	_, err := attempt.Complete(t.Context(), record("after"), retention)
	require.ErrorIs(t, err, idempotency.ErrLeaseLost)
	complete(t, store, key, "again")
}

func TestAFullServerTakesNoNewKeyAndForgetsNone(t *testing.T) {
	t.Parallel()
	server := own(t)
	admin := at(t, server.Address)
	store := open(t, admin, redisstore.Config{})
	of := func(value string) idempotency.Key { return idempotency.Key{Scope: "alice", Value: value} }
	begun := claim(t, store, of("begun"))
	left := claim(t, store, of("left")).(idempotency.Chain)
	require.NoError(t, left.Yield(t.Context(), idempotency.Progress{RecoveryPoint: "one", Attempt: 1}))
	released := claim(t, store, of("released"))

	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "8mb").Err())
	body := bytes.Repeat([]byte("x"), 100<<10)
	full := 0
	for ; ; full++ {
		require.Less(t, full, 1000, "the server was never full")
		attempt, _, err := store.Claim(t.Context(), of(fmt.Sprint(full)))
		if err != nil {
			require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
			require.ErrorContains(t, err, "raise its maxmemory")
			break
		}
		_, err = attempt.Complete(t.Context(), &idempotency.Record{Response: idempotency.Response{Status: 201, Body: body}}, retention)
		require.NoError(t, err)
	}
	require.Greater(t, full, 20)
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "7mb").Err()) // and stays full, whatever buffers are given back
	for n := range full {
		answers(t, store, of(fmt.Sprint(n)), &idempotency.Record{Response: idempotency.Response{Status: 201, Body: body}})
	}
	want := record("what has begun is ended")
	_, err := begun.Complete(t.Context(), want, retention)
	require.NoError(t, err)
	answers(t, store, of("begun"), want)
	resumed := claim(t, store, of("left")).(idempotency.Chain)
	require.Equal(t, "one", resumed.Progress().RecoveryPoint)
	require.NoError(t, resumed.Begin(t.Context()))
	require.NoError(t, resumed.Save(t.Context(), idempotency.Progress{RecoveryPoint: "two", Attempt: 2}, retention))
	_, err = resumed.Complete(t.Context(), want, retention)
	require.NoError(t, err)
	require.NoError(t, released.Release(t.Context()))
	_, _, err = store.Claim(t.Context(), of("released"))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)

	for n := range 20 {
		require.NoError(t, redisstore.Expire(t.Context(), store, of(fmt.Sprint(n))))
	}
	require.Eventually(t, func() bool { // memory is given back in a while
		attempt, _, err := store.Claim(t.Context(), of("new"))
		return err == nil && attempt.Release(t.Context()) == nil
	}, patience, 10e6, "what has expired makes room")
}

func TestAScriptThatTheServerHasForgottenIsSentAgain(t *testing.T) {
	t.Parallel()
	server := own(t)
	admin := at(t, server.Address)
	store := open(t, admin, redisstore.Config{})
	forget := func() { require.NoError(t, admin.ScriptFlush(t.Context()).Err()) }
	complete(t, store, idempotency.Key{Scope: "alice", Value: "known"}, "known")
	forget()
	attempt := claim(t, store, key).(idempotency.Chain)
	forget()
	require.NoError(t, attempt.Begin(t.Context()))
	forget()
	require.NoError(t, attempt.Save(t.Context(), idempotency.Progress{Attempt: 1}, retention))
	forget()
	require.NoError(t, attempt.Renew(t.Context(), retention))
	forget()
	want := record("done")
	_, err := attempt.Complete(t.Context(), want, retention)
	require.NoError(t, err)
	forget()
	found, err := store.Lookup(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, want.Response, found.Response)
}

func TestAHashThatSomebodyChangedIsNoAnswerAndNoSecondRun(t *testing.T) {
	t.Parallel()
	set := func(fields ...any) func(t *testing.T, c redis.UniversalClient, name string) {
		return func(t *testing.T, c redis.UniversalClient, name string) {
			require.NoError(t, c.HSet(t.Context(), name, fields...).Err())
		}
	}
	drop := func(fields ...string) func(t *testing.T, c redis.UniversalClient, name string) {
		return func(t *testing.T, c redis.UniversalClient, name string) {
			require.NoError(t, c.HDel(t.Context(), name, fields...).Err())
		}
	}
	other := func(t *testing.T, c redis.UniversalClient, name string) {
		require.NoError(t, c.Set(t.Context(), name, "x", 0).Err())
	}
	for state, changes := range map[string]map[string]func(t *testing.T, c redis.UniversalClient, name string){
		"completed": {
			"another type": other, "no state": drop("state"), "another state": set("state", "archived"), "no status": drop("status"), "a status that is none": set("status", "ok"),
			"no body": drop("body"), "no header": drop("header"), "no fingerprint": drop("fingerprint"), "a short fingerprint": set("fingerprint", "short"),
			"pending": set("state", "pending"),
		},
		"pending": {
			"another type": other, "no state": drop("state"), "another state": set("state", "PENDING"), "no owner": drop("owner"), "a short owner": set("owner", "short"),
			"no steps": drop("steps"), "no point": drop("point"), "no fingerprint": drop("fingerprint"), "a negative attempt": set("attempt", "-1"), "no attempt": drop("attempt"),
			"the last attempt": set("attempt", "2147483647"), "completions that are none": set("completions", "x"), "negative completions": set("completions", "-1"),
			"completed": set("state", "completed"),
		},
	} {
		for name, change := range changes {
			t.Run(state+", "+name, func(t *testing.T) {
				t.Parallel()
				store := open(t, client(t), redisstore.Config{})
				if state == "pending" {
					require.NoError(t, claim(t, store, key).(idempotency.Chain).Yield(t.Context(), idempotency.Progress{RecoveryPoint: "one", Attempt: 1}))
				} else {
					complete(t, store, key, "whole")
				}
				change(t, redisstore.Client(store), store.Name(key))
				before, _ := redisstore.Client(store).Dump(t.Context(), store.Name(key)).Result()
				for range 2 {
					attempt, found, err := store.Claim(t.Context(), key)
					require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
					require.Nil(t, attempt)
					require.Nil(t, found)
				}
				after, _ := redisstore.Client(store).Dump(t.Context(), store.Name(key)).Result()
				require.Equal(t, before, after, "it was touched")
				if state == "pending" {
					_, err := store.Pending(t.Context(), idempotency.Due{Limit: 10, MaxCompletions: 10})
					require.NoError(t, err, "the completer goes on with the others")
				}
			})
		}
	}
}
