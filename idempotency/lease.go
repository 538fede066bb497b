package idempotency

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"
)

// Leaser is a Store that lends keys to whoever has an owner token: a claim that is not bound to a process, a connection or a
// transaction, so that one process can begin an operation and another one end it. It is for gateways, whose effects happen in a service
// behind them. What is promised there is less than what a transaction promises: see docs/gateway.md.
//
// A lent key has a row: pending, with the owner's token, a lease and the request's fingerprint. Whoever has the token may end the loan, also
// after the lease, as long as nobody has taken the key over; whoever has another one gets [ErrLeaseLost], and changes nothing. The store's
// clock measures leases. Each method is one round trip, changes the row in one statement or not at all, and may be called again with the same
// arguments when its reply was lost.
//
// Claim takes a lent key for one that is in progress, and never takes it over: nobody knows there whether the operation has happened. Acquire
// does the same with a key that a Chain has left.
type Leaser interface {
	Store

	// Acquire lends key for terms.Lease, from now on. Exactly one of its results is set:
	//
	//   - a Lease: no record is there, and no other owner's lease; the key belongs to terms.Owner;
	//   - a Record: the key is completed, by the same request as far as terms tell;
	//   - an error: [ErrInProgress] where another owner's lease lasts; [ErrKeyReused] where another request has completed the key, or was
	//     left without an outcome under it; else as with [Store.Claim].
	//
	// A second call with the same owner, before the loan has ended, renews the lease.
	Acquire(ctx context.Context, key Key, terms Terms) (*Lease, *Record, error)

	// Settle ends the loan with a record, to be kept for retention from now on; one without a fingerprint keeps the loan's. again reports that
	// this owner has stored this very record before, and that nothing was changed. [ErrLeaseLost] says that the key is not owner's, or that another record was stored; [ErrOutcomeUnknown], that the
	// record may be stored and may not be.
	Settle(ctx context.Context, key Key, owner OwnerToken, record *Record, retention time.Duration) (again bool, err error)

	// Extend has the lease end after this time, counted from now on, be that later or sooner than before.
	Extend(ctx context.Context, key Key, owner OwnerToken, lease time.Duration) error

	// Free ends the loan as if it had not been: nothing of the operation has happened. A key that an earlier owner has left without an outcome
	// stays as that one left it, for the next one to take over; any other key is new again, and a second call gets [ErrLeaseLost].
	Free(ctx context.Context, key Key, owner OwnerToken) error
}

// Terms are what a key is lent on.
type Terms struct {
	// Owner is the token of the new owner: one of its own for each request, from [NewOwnerToken].
	Owner OwnerToken
	// Identity tells the request from others with its key. A zero fingerprint, of the request or of what is stored, compares nothing.
	Identity
	// Lease is for how long the key is lent.
	Lease time.Duration
	// Remember is for how long a loan that nobody ends is remembered after its lease, so that another request with its key is told so:
	// then Reap deletes it. Default: 24 hours.
	Remember time.Duration
}

// DefaultRemember is what a zero Terms.Remember stands for.
const DefaultRemember = 24 * time.Hour

// Check says what is wrong with t, or fills in its defaults.
func (t *Terms) Check() error {
	if t.Remember == 0 {
		t.Remember = DefaultRemember
	}
	switch {
	case t.Owner == OwnerToken{}:
		return ErrInternal.Because(errors.New("idempotency: Terms.Owner is missing: draw one with NewOwnerToken"))
	case t.Lease < time.Millisecond, t.Remember < time.Millisecond:
		return ErrInternal.Because(errors.New("idempotency: Terms.Lease and Terms.Remember must be a millisecond or more"))
	}
	return nil
}

// Lease is a key that is lent.
type Lease struct {
	// Attempt counts the owners of the key from 1. Above that, an earlier one has left it without an outcome: what it was to do may have
	// happened.
	Attempt int
}

// Identity tells a request from others that carry the same key.
type Identity struct {
	Fingerprint Fingerprint
	// Matches is asked about a stored fingerprint that differs from Fingerprint, so that a recipe can change while keys are alive
	// ([Fingerprinter.Matches]). May be nil.
	Matches func(stored Fingerprint) bool
}

// Is reports whether stored is this request's fingerprint.
func (i Identity) Is(stored Fingerprint) bool {
	return stored.Equal(i.Fingerprint) || i.Matches != nil && i.Matches(stored)
}

// Admits is Is where a zero fingerprint, on either side, compares nothing.
func (i Identity) Admits(stored Fingerprint) bool {
	return i.Fingerprint == Fingerprint{} || stored == Fingerprint{} || i.Is(stored)
}

// OwnerToken says whose a lent key is. It is a secret of its owner's.
type OwnerToken [16]byte

// NewOwnerToken draws a token that nobody else can come by.
func NewOwnerToken() (token OwnerToken) {
	_, _ = rand.Read(token[:]) // it never fails
	return token
}

// String returns the token in 32 hexadecimal digits.
func (t OwnerToken) String() string { return hex.EncodeToString(t[:]) }

// ParseOwnerToken reads what String has written, in either case.
func ParseOwnerToken(text string) (token OwnerToken, err error) {
	if hex.DecodedLen(len(text)) == len(token) && len(text)%2 == 0 {
		if _, err = hex.Decode(token[:], []byte(text)); err == nil && token != (OwnerToken{}) {
			return token, nil
		}
	}
	return OwnerToken{}, errors.New("idempotency: an owner token has 32 hexadecimal digits, not all of them zero")
}

// IdentityClaimer is a Store that has to know, when it is asked for a key, which request asks: it keeps the fingerprint before the handler has
// run. The engine then calls ClaimAs in place of Claim, which differs in nothing else.
type IdentityClaimer interface {
	Store

	ClaimAs(ctx context.Context, key Key, identity Identity) (Attempt, *Record, error)
}
