package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
)

// keepRenewing renews the lease from now on, by a timer and a goroutine for as long as each renewal takes, until the attempt is over.
func (a *attempt) keepRenewing(asked time.Time) {
	a.beat = time.AfterFunc(time.Hour, a.renewInTime) // and not before the field is set
	a.beat.Reset(a.pauseSince(asked))
}

// pause is how long until the next renewal.
func (a *attempt) pause() time.Duration { return max(a.lease/3, time.Millisecond) }

// pauseSince is pause for a lease that runs from when the server was asked for it, or a little later.
func (a *attempt) pauseSince(asked time.Time) time.Duration {
	return max(a.pause()-time.Since(asked), time.Millisecond)
}

// renewInTime is a renewal that nobody waits for. One that fails is tried again soon: the server may be back before the lease is over.
// One that finds the key lost ends the handler's context, and there is no other.
func (a *attempt) renewInTime() {
	if !a.mu.TryLock() { // what runs just now renews the lease by itself, or ends the attempt
		a.beat.Reset(time.Millisecond)
		return
	}
	defer a.mu.Unlock()
	if a.over {
		return
	}
	asked := time.Now()
	switch err := a.renew(context.Background(), a.lease); {
	case err == nil:
		a.beat.Reset(a.pauseSince(asked))
	case errors.Is(err, idempotency.ErrLeaseLost):
		a.dismiss(err)
	default:
		a.beat.Reset(max(a.lease/10, time.Millisecond))
	}
}

// renew asks once. a.mu is held.
func (a *attempt) renew(ctx context.Context, lease time.Duration) error {
	owned, keys := 0, a.place.alone()
	if a.owned {
		owned, keys = 1, a.place.keys()
	}
	store := *a.store
	// A connection that says nothing is given up while there is time for another one.
	if single, ok := store.client.(*redis.Client); ok && single.Options().ReadTimeout > a.lease/2 {
		store.client = single.WithTimeout(max(a.lease/2, time.Millisecond))
	}
	return a.told(store.ask(ctx, renewScript, keys, a.holder, a.owner, milliseconds(lease), milliseconds(lingers), a.place.member, owned))
}

// told turns the answer of a script that has nothing to say into an error.
func (a *attempt) told(answer reply, err error) error {
	if err != nil {
		return refusedBy(err)
	}
	if answer.word() == "lost" {
		return errLost
	}
	return nil
}
