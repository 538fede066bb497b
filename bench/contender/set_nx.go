package contender

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

var setNX = Kind{
	Name:    "redis-set-nx",
	Says:    "SET key NX PX marks the key in Redis; the payment; SET key holds the answer",
	Module:  "github.com/redis/go-redis/v9",
	Redis:   true,
	Replays: true,
	Open:    func(_ context.Context, place Place) (Contender, error) { return marked{place}, nil },
}

// inFlight is the mark; no answer looks like it.
const inFlight = "in-flight"

type marked struct{ Place }

func (marked) Close() {}

// Pay asks for the mark and for what is there in one command, so that a replay is one round trip, as SET … NX GET allows since
// Redis 7.
func (m marked) Pay(ctx context.Context, key string) ([]byte, error) {
	name := "idempotency:" + key
	found, err := m.Redis.SetArgs(ctx, name, inFlight, redis.SetArgs{Mode: "NX", TTL: m.Stale, Get: true}).Result()
	switch {
	case err == nil && found == inFlight:
		return nil, ErrBusy
	case err == nil:
		return []byte(found), nil
	case !errors.Is(err, redis.Nil):
		return nil, err
	}
	body, err := m.pay(ctx, key)
	if err != nil {
		return nil, errors.Join(err, m.Redis.Del(context.WithoutCancel(ctx), name).Err())
	}
	return body, m.Redis.Set(ctx, name, body, retention).Err()
}
