package redisstore_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

// trips counts what a client sends: commands, and pipelines as one.
type trips struct{ sent atomic.Int64 }

func (c *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.sent.Add(1)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.sent.Add(1)
		return next(ctx, cmds)
	}
}

func TestEveryStepIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	options, err := single()
	orSkip(t, err)
	own := *options
	client := closing(t, redis.NewClient(&own))
	store := open(t, client, redisstore.Config{})
	var attempt idempotency.Attempt
	claims := func() (err error) { attempt, _, err = store.Claim(t.Context(), key); return err }
	completes := func() error { _, err := attempt.Complete(t.Context(), record("done"), retention); return err }
	chain := func() idempotency.PendingCounter { return attempt.(idempotency.PendingCounter) }
	steps := []struct {
		name string
		run  func() error
		want int64
	}{
		{"a claim", claims, 1},
		{"its release", func() error { return attempt.Release(t.Context()) }, 1},
		{"a claim", claims, 1},
		{"its completion", completes, 1},
		{"a replay, by a claim", claims, 1},
		{"a replay, of a key that is known", func() error { _, err := store.Lookup(t.Context(), key); return err }, 1},
		{"the end of the retention", func() error { return redisstore.Expire(t.Context(), store, key) }, 1},
		{"a claim", claims, 1},
		{"a step's beginning", func() error { return chain().Begin(t.Context()) }, 1},
		{"how many keys are pending", func() error { _, err := chain().CountPending(t.Context(), 10); return err }, 1},
		{"its recovery point", func() error { return chain().Save(t.Context(), idempotency.Progress{Attempt: 1}, retention) }, 1},
		{"a lease", func() error { return chain().Renew(t.Context(), retention) }, 1},
		{"the end", completes, 1},
		{"the reaper", func() error { _, err := store.Reap(t.Context(), 10); return err }, 0},
		{"a request without a key", func() error { _, err := store.Begin(t.Context()); return err }, 0},
		{"the completer, where nothing is due", func() error { _, err := store.Pending(t.Context(), idempotency.Due{Limit: 10}); return err }, 1},
	}
	complete(t, store, idempotency.Key{Scope: "alice", Value: "so that the server knows the scripts"}, "x")
	for _, step := range steps { // once so that the server knows every script, and once to count
		require.NoError(t, step.run(), step.name)
	}
	require.NoError(t, redisstore.Expire(t.Context(), store, key))
	var count trips
	client.AddHook(&count)
	for _, step := range steps {
		require.NoError(t, step.run(), step.name)
		require.Equal(t, step.want, count.sent.Swap(0), step.name)
	}
}
