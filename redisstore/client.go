package redisstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// checkClient says why a client cannot carry the store.
func checkClient(client redis.UniversalClient, config Config) error {
	if client == nil {
		return errors.New("redisstore: New needs a client: pass one of redis.NewClient, redis.NewClusterClient or redis.NewUniversalClient")
	}
	var timeout time.Duration
	var heeds bool
	switch c := client.(type) {
	case *redis.Client:
		timeout, heeds = c.Options().ReadTimeout, c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		timeout, heeds = c.Options().ReadTimeout, c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		return errors.New("redisstore: a *redis.Ring looks for a key on another server when its own is away, where what has been done would be done again: " +
			"use Redis Cluster, or Sentinel by redis.NewFailoverClient")
	default:
		if config.Replicas > 0 {
			return fmt.Errorf("redisstore: Config.Replicas needs a *redis.Client or a *redis.ClusterClient, and this is a %T: "+
				"WAIT counts for the connection that has written", client)
		}
		return nil // whose settings are not known
	}
	switch {
	case timeout <= 0 && !heeds:
		return errors.New("redisstore: the client waits for replies without a bound: set its ReadTimeout, or ContextTimeoutEnabled")
	case timeout > 0 && config.Replicas > 0 && config.ReplicaTimeout >= timeout:
		return fmt.Errorf("redisstore: Config.ReplicaTimeout is %v, and the client's ReadTimeout of %v would be over first: make that the longer one",
			config.ReplicaTimeout, timeout)
	}
	return nil
}
