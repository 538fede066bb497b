package redisstore

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config configures a [Store]. The zero value works; [New] copies it.
type Config struct {
	// Prefix begins the name of every Redis key of the store: one for each service that shares a server, and the same in all of its
	// processes. Up to 64 bytes, without braces, by which Redis Cluster finds its slots. Default: "onlyonce".
	Prefix string
	// Lease is for how long a key belongs to an attempt that has given no sign of life: how long a crash blocks a key, and for how long a
	// process may be stopped, or cut off from Redis, before another one may run the same request beside it. It is renewed three
	// times in its length for as long as the handler runs; a claim that is answered when half of it is over is given back (503). Keys with
	// recovery points go by idempotency.Config.Lease once they have one. Default: 15 seconds. At least 10 milliseconds.
	Lease time.Duration
	// Timeout bounds each of the store's own round trips. A client heeds it in the middle of one only with ContextTimeoutEnabled, and else ends
	// it by its own ReadTimeout. Default: 5 seconds.
	Timeout time.Duration
	// ReadBackTimeout bounds for how long a completion, or a recovery point, is asked for again whose reply was lost, before the client is
	// told [idempotency.ErrOutcomeUnknown]. Default: 10 seconds.
	ReadBackTimeout time.Duration
	// Replicas is how many replicas must have a claim before its handler runs, and a completion before it is answered (WAIT). Short of
	// that a claim is given back ([idempotency.ErrStoreUnavailable]) and a completion is [idempotency.ErrOutcomeUnknown]. Redis may promote another
	// replica all the same: it makes losses rarer and does not end them. It needs a *redis.Client or a *redis.ClusterClient. Default: 0.
	Replicas int
	// ReplicaTimeout is how long they are waited for. It must be less than Timeout and than the client's ReadTimeout. Default: 1 second.
	ReplicaTimeout time.Duration
	// AnyPersistence has [Store.Check] leave out whether and how the server keeps its data on disk: for managed servers that do not show it,
	// once you have found out, and for those who accept that a restart forgets keys.
	AnyPersistence bool
}

const longestPrefix = 64

func (c Config) withDefaults() (Config, error) {
	var wrong []error
	if c.Prefix == "" {
		c.Prefix = "onlyonce"
	}
	if len(c.Prefix) > longestPrefix || strings.ContainsAny(c.Prefix, "{}") {
		wrong = append(wrong, fmt.Errorf("redisstore: Config.Prefix is %q: give up to %d bytes without { and }, by which Redis Cluster finds a key's slot",
			c.Prefix, longestPrefix))
	}
	for _, setting := range []struct {
		name  string
		value *time.Duration
		least time.Duration
		def   time.Duration
	}{
		{"Lease", &c.Lease, 10 * time.Millisecond, 15 * time.Second},
		{"Timeout", &c.Timeout, time.Millisecond, 5 * time.Second},
		{"ReadBackTimeout", &c.ReadBackTimeout, time.Millisecond, 10 * time.Second},
		{"ReplicaTimeout", &c.ReplicaTimeout, time.Millisecond, time.Second},
	} {
		if *setting.value == 0 {
			*setting.value = setting.def
		}
		if *setting.value < setting.least {
			wrong = append(wrong, fmt.Errorf("redisstore: Config.%s is %v: give at least %v, or 0 for the default", setting.name, *setting.value, setting.least))
		}
	}
	if c.Replicas < 0 {
		wrong = append(wrong, fmt.Errorf("redisstore: Config.Replicas is %d: give how many replicas must have a write, or 0", c.Replicas))
	}
	if c.Replicas > 0 && c.ReplicaTimeout >= c.Timeout {
		wrong = append(wrong, errors.New("redisstore: Config.ReplicaTimeout must be less than Config.Timeout, which bounds all of a round trip"))
	}
	return c, errors.Join(wrong...)
}
