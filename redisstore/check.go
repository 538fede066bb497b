package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Check asks the server, or every master of the cluster, whether the store can hold there what it promises, and says what to do if not: it
// cannot be reached, is older than Redis 7, is a replica, may evict keys for want of room (any maxmemory-policy but noeviction), or has fewer
// replicas than Config.Replicas. And whether a restart of it would forget more than the last second: no append-only file, or one that is never synced
// (appendfsync no). Where that is not to be seen, because the user may not run INFO or CONFIG GET, that is an error as well, until
// Config.AnyPersistence says not to look.
//
// Then it observes that a claim keeps another one off its key, by a key that it makes up, and gives back. Call it at start, and where
// readiness is asked for. What it has seen may change an instant later.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		if err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return s.check(ctx, master) }); err != nil {
			return idempotency.ErrStoreUnavailable.Because(err)
		}
	} else if err := s.check(ctx, s.client); err != nil {
		return idempotency.ErrStoreUnavailable.Because(err)
	}
	return s.observe(ctx)
}

func (s *Store) check(ctx context.Context, server redis.Cmdable) error {
	text, err := server.Info(ctx).Result()
	if redis.IsPermissionError(err) {
		return fmt.Errorf("redisstore: the server could not be checked: grant the user +info: %w", err)
	}
	if err != nil {
		return fmt.Errorf("redisstore: the server cannot be reached; check its address, and that it runs: %w", err)
	}
	info := parseInfo(text)
	if err := info.check(s.config); err != nil || s.config.AnyPersistence {
		return err
	}
	if info["aof_enabled"] != "1" {
		return errors.New("redisstore: the server keeps no append-only file, so that a restart forgets keys, and what they stand for is done again: " +
			"set appendonly yes, or Config.AnyPersistence if that is what you want")
	}
	synced, err := server.ConfigGet(ctx, "appendfsync").Result()
	if err != nil || synced["appendfsync"] == "" {
		return fmt.Errorf("redisstore: how often the server syncs its append-only file could not be checked: "+
			"grant the user +config|get, or find out, and set Config.AnyPersistence (%v)", err)
	}
	if synced["appendfsync"] == "no" {
		return errors.New("redisstore: the server leaves it to the system when its append-only file is on disk: " +
			"set appendfsync everysec, or always, or Config.AnyPersistence if that is what you want")
	}
	return nil
}

// info is what INFO says, by field.
type info map[string]string

func parseInfo(text string) info {
	found := info{}
	for line := range strings.Lines(text) {
		if field, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			found[field] = value
		}
	}
	return found
}

// oldest is the first version that has scripts with flags.
const oldest = 7

func (i info) check(config Config) error {
	major, _, _ := strings.Cut(i["redis_version"], ".")
	version, err := strconv.Atoi(major)
	replicas, _ := strconv.Atoi(i["connected_slaves"])
	switch {
	case err != nil || version < oldest:
		return fmt.Errorf("redisstore: the server is Redis %q, and the store needs %d or later", i["redis_version"], oldest)
	case i["role"] != "master":
		return fmt.Errorf("redisstore: the server's role is %q: give the client the master's address, or Sentinel's, or the cluster's", i["role"])
	case i["maxmemory_policy"] != "noeviction":
		return fmt.Errorf("redisstore: the server's maxmemory-policy is %q, by which it would forget keys, and what they stand for would be done again: "+
			"set noeviction", i["maxmemory_policy"])
	case replicas < config.Replicas:
		return fmt.Errorf("redisstore: the server has %d replicas, and Config.Replicas wants %d to have each write", replicas, config.Replicas)
	}
	return nil
}

// observe claims a key twice, of which the second must fail.
func (s *Store) observe(ctx context.Context) error {
	key := idempotency.Key{Scope: "onlyonce check", Value: fmt.Sprintf("%x", token())}
	first, _, err := s.Claim(ctx, key)
	if err != nil {
		return err
	}
	second, _, err := s.Claim(ctx, key)
	if second != nil {
		_ = second.Release(context.WithoutCancel(ctx))
	}
	if !errors.Is(err, idempotency.ErrInProgress) {
		return errors.Join(idempotency.ErrStoreUnavailable.Because(fmt.Errorf("redisstore: a claim does not keep another one off its key: %w", errOrNothing(err))),
			first.Release(context.WithoutCancel(ctx)))
	}
	return first.Release(context.WithoutCancel(ctx))
}

func errOrNothing(err error) error {
	if err == nil {
		return errors.New("both have it")
	}
	return err
}
