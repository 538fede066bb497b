package redisstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// replicated runs a script and waits until the replicas have what it has written. WAIT is about what its own connection has written, so
// the two are one pipeline to one node.
func (s *Store) replicated(ctx context.Context, sc script, keys []string, args []any) (reply, error) {
	node, err := s.node(ctx, keys[0])
	if err != nil {
		return nil, err
	}
	answer, err := s.waited(ctx, node, func(pipe redis.Pipeliner) *redis.Cmd { return pipe.EvalSha(ctx, sc.Hash(), keys, args...) })
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		answer, err = s.waited(ctx, node, func(pipe redis.Pipeliner) *redis.Cmd { return pipe.Eval(ctx, sc.text, keys, args...) })
	}
	if to, asks := redis.IsAskError(err); asks { // while a slot is being moved, its node alone says where a key is
		if other := s.nodeAt(ctx, to); other != nil {
			answer, err = s.waited(ctx, other, func(pipe redis.Pipeliner) *redis.Cmd {
				pipe.Do(ctx, "asking")
				return pipe.Eval(ctx, sc.text, keys, args...)
			})
		}
	}
	if cluster, ok := s.client.(*redis.ClusterClient); ok && err != nil {
		cluster.ReloadState(ctx) // the slot may have another master by now
	}
	return answer, err
}

// node is the server that has the key.
func (s *Store) node(ctx context.Context, key string) (*redis.Client, error) {
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		return client.MasterForKey(ctx, key)
	case *redis.Client:
		return client, nil
	}
	return nil, fmt.Errorf("redisstore: WAIT cannot be sent by a %T", s.client) // New has refused it
}

func (s *Store) waited(ctx context.Context, node *redis.Client, run func(pipe redis.Pipeliner) *redis.Cmd) (reply, error) {
	pipe := node.Pipeline()
	ran := run(pipe)
	have := pipe.Do(ctx, "wait", s.config.Replicas, milliseconds(s.config.ReplicaTimeout))
	_, _ = pipe.Exec(ctx) // both commands have its error
	answer, err := ran.Slice()
	if err != nil {
		return nil, err
	}
	switch reply(answer).word() {
	case "claimed", "pending", "done", "again", "lent":
	default:
		return answer, nil // nothing was written
	}
	replicas, err := have.Int()
	if err != nil { // of WAIT: the script has run, whatever the server says
		return answer, fmt.Errorf("redisstore: whether the replicas have the write is not known: %v", err)
	}
	if replicas < s.config.Replicas {
		err = fmt.Errorf("redisstore: %d of %d replicas had the write within %v", replicas, s.config.Replicas, s.config.ReplicaTimeout)
	}
	return answer, err
}

// nodeAt is the master of the cluster at an address, or nil.
func (s *Store) nodeAt(ctx context.Context, address string) (found *redis.Client) {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return nil
	}
	var mu sync.Mutex
	_ = cluster.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		if master.Options().Addr == address {
			found = master
		}
		return nil
	})
	return found
}
