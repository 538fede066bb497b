package redisstore

import (
	"context"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Complete stores record in the place of the claim, in one round trip, if the key is still the attempt's: it is fenced by the same script that
// writes. Its error is ErrLeaseLost, and then nothing was stored; or else ErrOutcomeUnknown, since the handler's work is done and is not undone. A
// record that another attempt has stored meanwhile is in Settled.
func (a *attempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return idempotency.Settled{}, errOver
	}
	defer a.dismiss(nil)
	keys := a.place.alone()
	if a.owner != "" {
		keys = a.place.keys()
	}
	answer, asked, err := a.store.insisted(ctx, completeScript, keys,
		a.holder, a.owner, max(milliseconds(retention), 1), a.place.member, a.key.Scope,
		record.Fingerprint[:], record.Response.Status, record.Response.Header, record.Response.Body)
	settled := idempotency.Settled{ReadBack: asked}
	if err != nil {
		return settled, err
	}
	switch answer.word() {
	case "done":
		settled.Record = record
	case "again": // the client may have asked twice by itself
		settled.Record, settled.ReadBack = record, true
	case "completed":
		settled.Record, err = answer.record()
	default:
		err = errLost
	}
	return settled, err
}

// Refuse is Complete: there is nothing that could be rolled back.
func (a *attempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	return a.Complete(ctx, record, retention)
}

// Release frees the key, unless it is somebody else's by now. What the handler has done stays.
func (a *attempt) Release(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return errOver
	}
	defer a.dismiss(nil)
	return a.release(ctx)
}

func (a *attempt) release(ctx context.Context) error {
	return a.told(a.store.ask(ctx, releaseScript, a.place.alone(), a.holder, a.owner))
}
