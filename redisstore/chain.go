package redisstore

import (
	"context"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// A chain's steps are what is kept of it, and nothing else is: a step of a handler's that ends between its effect and its recovery point runs
// again, as a foreign call does. Between steps the key belongs to the attempt by its lease.

// Progress returns what the claim has read.
func (a *attempt) Progress() *idempotency.Progress { return a.found }

// Begin takes hold of the key for a step, if it is still the attempt's.
func (a *attempt) Begin(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return errOver
	}
	return a.told(a.store.ask(ctx, beginScript, a.place.alone(), a.holder, a.owner,
		milliseconds(max(a.lease, a.store.config.Lease)), milliseconds(lingers)))
}

// Save keeps progress, and lets go of the key but for the lease, which is renewed from now on.
func (a *attempt) Save(ctx context.Context, progress idempotency.Progress, lease time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return errOver
	}
	asked := time.Now()
	if err := a.save(ctx, progress, lease); err != nil {
		return err
	}
	a.lease = lease
	a.beat.Reset(a.pauseSince(asked))
	return nil
}

// Detach is Save: there is no transaction to let go of.
func (a *attempt) Detach(ctx context.Context, progress idempotency.Progress, lease time.Duration) error {
	return a.Save(ctx, progress, lease)
}

func (a *attempt) save(ctx context.Context, p idempotency.Progress, lease time.Duration) error {
	next := token()
	answer, _, err := a.store.insisted(ctx, saveScript, a.place.keys(),
		a.holder, a.owner, next, milliseconds(lease), a.place.member, a.key.Scope, a.key.Value,
		p.Fingerprint[:], p.RecoveryPoint, p.Steps, p.Request, p.Attempt, p.Completions, p.LastError)
	if err != nil {
		return err
	}
	if answer.word() == "lost" {
		return errLost
	}
	a.owner, a.owned = next, true
	return nil
}

// Undo ends a step. What the step did stays: there is no transaction to roll back.
func (a *attempt) Undo(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return errOver
	}
	return nil
}

// Renew extends the lease.
func (a *attempt) Renew(ctx context.Context, lease time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return errOver
	}
	return a.renew(ctx, lease)
}

// Yield keeps progress and ends the attempt and its lease.
func (a *attempt) Yield(ctx context.Context, progress idempotency.Progress) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return errOver
	}
	defer a.dismiss(nil)
	return a.save(ctx, progress, 0)
}
