package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

var _ idempotency.Leaser = (*Store)(nil)

// Acquire lends key, in one round trip; in two where terms.Matches has to be asked. A claim whose lease is over is taken over as if its owner had
// borrowed the key.
//
// An error that is none of those named in [idempotency.Leaser] leaves open whether the key was lent. Nobody else has it then before the lease is
// over, unless its owner calls Free.
func (s *Store) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, nil, idempotency.ErrStoreUnavailable.Because(err)
	}
	if err := terms.Check(); err != nil {
		return nil, nil, err
	}
	const mostTries = 4 // of a key that changes in between
	p, none, accepted := s.place(key), idempotency.Fingerprint{}, terms.Fingerprint
	for tries := 1; ; tries++ {
		answer, err := s.written(ctx, acquireScript, p.alone(), terms.Owner[:], milliseconds(terms.Lease), milliseconds(terms.Remember),
			terms.Fingerprint[:], accepted[:], none[:])
		if err != nil {
			if tries == 1 && mayHaveRun(err) && ctx.Err() == nil { // by the same owner it is the same loan
				continue
			}
			return nil, nil, refusedBy(err)
		}
		switch answer.word() {
		case "lent":
			attempt, err := answer.number(1)
			if err != nil {
				return nil, nil, errUnreadable
			}
			return &idempotency.Lease{Attempt: int(attempt)}, nil, nil
		case "completed":
			record, err := answer.record()
			if err == nil && !terms.Admits(record.Fingerprint) {
				record, err = nil, idempotency.ErrKeyReused
			}
			return nil, record, err
		case "differs":
			text, _ := answer.text(1)
			stored, err := idempotency.ParseFingerprint([]byte(text))
			switch {
			case err != nil:
				return nil, nil, errUnreadable
			case !terms.Admits(stored):
				return nil, nil, idempotency.ErrKeyReused
			case tries >= mostTries:
				return nil, nil, idempotency.ErrInProgress
			}
			accepted = stored
		case "working":
			return nil, nil, idempotency.ErrInProgress
		default:
			return nil, nil, errUnreadable
		}
	}
}

// Settle ends the loan with a record, in one round trip. As long as it is not known whether it is stored, it is sent again, for
// Config.ReadBackTimeout, whatever becomes of ctx. again may be said of a record that this very call has stored, where the client has sent it
// twice by itself.
func (s *Store) Settle(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration) (again bool, err error) {
	if owner == (idempotency.OwnerToken{}) {
		return false, errNotLent
	}
	p, none := s.place(key), idempotency.Fingerprint{}
	answer, asked, err := s.insisted(ctx, settleScript, p.alone(), owner[:], max(milliseconds(retention), 1),
		record.Fingerprint[:], record.Response.Status, record.Response.Header, record.Response.Body, none[:])
	if err != nil {
		return false, err
	}
	if answer.word() == "lost" {
		return false, errNotLent
	}
	return answer.word() == "again" && !asked, nil
}

// Extend moves the end of the lease, in one round trip.
func (s *Store) Extend(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, lease time.Duration) error {
	if owner == (idempotency.OwnerToken{}) {
		return errNotLent
	}
	p := s.place(key)
	return stillLent(s.written(ctx, extendScript, p.alone(), owner[:], milliseconds(lease)))
}

// Free ends the loan as if it had not been, in one round trip. One that the client has sent twice by itself, since the reply was lost, may say that
// the key is not owner's: it is not any more.
func (s *Store) Free(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken) error {
	if owner == (idempotency.OwnerToken{}) {
		return errNotLent
	}
	p := s.place(key)
	return stillLent(s.ask(ctx, freeScript, p.alone(), owner[:]))
}

var errNotLent = idempotency.ErrLeaseLost.Because(errors.New("redisstore: the key is not lent to this owner, or not any more: what it stores is refused"))

func stillLent(answer reply, err error) error {
	if err != nil {
		return refusedBy(err)
	}
	if answer.word() == "lost" {
		return errNotLent
	}
	return nil
}
