package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Page is how many keys are asked about at a time.
const Page = page

// Buckets and Slot are what the names are made with.
const Buckets = buckets

func Slot(tag string) int { return slot(tag) }

// Bucket returns the tag of a bucket.
func Bucket(n int) string { return tags()[n] }

// Names are all the Redis keys that the scripts of a key touch.
func Names(s *Store, key idempotency.Key) []string {
	p := s.place(key)
	return p.keys()
}

// Expire ends the retention of the record of key, as the passing of time would: Redis drops it.
func Expire(ctx context.Context, s *Store, key idempotency.Key) error {
	dropped, err := s.client.Del(ctx, s.Name(key)).Result()
	if err == nil && dropped != 1 {
		err = fmt.Errorf("there is no record to expire")
	}
	return err
}

// EndLease ends the lease of the pending or lent key, as the passing of time would.
func EndLease(ctx context.Context, s *Store, key idempotency.Key) error {
	p := s.place(key)
	const over = `local now = redis.call('TIME')[1] * 1000
		local state = redis.call('HGET', KEYS[1], 'state')
		if state ~= 'pending' and state ~= 'lent' then return 0 end
		redis.call('HSET', KEYS[1], 'leased', string.format('%.0f', now - 1000))
		if state == 'lent' then return 1 end
		redis.call('ZADD', KEYS[2], string.format('%.0f', now - 1000), ARGV[1])
		return 1`
	ended, err := s.client.Eval(ctx, over, p.keys(), p.member).Int()
	if err == nil && ended != 1 {
		err = fmt.Errorf("there is no pending key whose lease could end")
	}
	return err
}

// EndHold ends the hold of the attempt that works on key, as the passing of time would.
func EndHold(ctx context.Context, s *Store, key idempotency.Key) error {
	if s.client.HExists(ctx, s.Name(key), "holder").Val() {
		return s.client.HSet(ctx, s.Name(key), "held", 1).Err()
	}
	return nil
}

// Crash does to the attempt whose context this is what the death of its process would, and lets its lease go by: it renews nothing any more.
func Crash(ctx context.Context) error {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return fmt.Errorf("the context is not of an attempt")
	}
	Freeze(ctx)
	return EndHold(ctx, a.store, a.key)
}

// Freeze stops the renewals of the attempt whose context this is, as SIGSTOP would.
func Freeze(ctx context.Context) {
	a := ctx.Value(attemptKey{}).(*attempt)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beat.Stop()
	a.lease = 1000 * 1000 * 1000 * 3600 * 24 // for a renewal that is on its way
}

// Prefix is that of the names.
func Prefix(s *Store) string { return s.config.Prefix }

// Client is what the store asks.
func Client(s *Store) redis.UniversalClient { return s.client }

// SetReplicas changes how many replicas must have what the store writes from now on.
func SetReplicas(s *Store, n int) { s.config.Replicas = n }
