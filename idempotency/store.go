package idempotency

import (
	"context"
	"math"
	"time"
)

// Store keeps one record per key, and lets one attempt at a time work on a key. It is safe for concurrent use by many
// goroutines, and, where it is not in memory, by many processes.
//
// The package storetest holds the suite that every store must pass. What a store must hold:
//
//   - At most one record per key, ever. What decides is one place (a primary key, a compare-and-set), not the order in
//     which callers asked.
//   - A record is there if and only if the attempt's writes are there, as far as the store is transactional.
//   - A completed record is not lost, replaced or forgotten before its retention is over, not even for want of room.
//   - An attempt whose owner is gone blocks nobody for longer than a bound that the store documents.
//   - One clock counts: the store's own, never the caller's.
//   - Every method ends within a bound of the store's own, even when ctx has none. Errors are *Error, or wrap one.
type Store interface {
	// Claim starts an attempt at key. Exactly one of its results is set:
	//
	//   - an Attempt: no record is there, and this caller alone may work on the key until it ends the attempt;
	//   - a Record: the key is completed;
	//   - an error: [ErrInProgress] when another attempt is at work; [ErrStoreUnavailable] when the store cannot be
	//     asked; [ErrRecordUnreadable] when what is stored cannot be understood. Nothing is held then.
	//
	// A record whose retention is over counts as absent; what is left of another's is in its Left. A ctx that ends makes Claim fail and leaves nothing behind.
	Claim(ctx context.Context, key Key) (Attempt, *Record, error)

	// Lookup returns the completed record of key, or nil when there is none. It claims nothing.
	Lookup(ctx context.Context, key Key) (*Record, error)

	// Begin starts an attempt without a key: the handler runs as under a key, and nothing is stored.
	Begin(ctx context.Context) (Attempt, error)

	// Reap deletes up to limit records whose retention is over, and nothing else. One caller at a time does: for the
	// others it does nothing and reports Busy.
	Reap(ctx context.Context, limit int) (Reaped, error)
}

// Attempt is one caller's exclusive work on a key. The engine ends it by exactly one call of Complete, Refuse or Release,
// from any goroutine; whatever that call returns, the attempt is over and holds nothing any more. A second call
// returns an error and changes nothing. The contexts passed to them are never cancelled by the client, so that the store's
// own bound ends them.
type Attempt interface {
	// Context returns ctx with what the handler needs to write as part of the attempt: pgstore's transaction.
	Context(ctx context.Context) context.Context

	// Complete commits the handler's writes and record, to be kept for retention from now on, as one. The record that stands in
	// the end is in Settled: record itself; or, where another attempt came first, that one's, and then the writes of this attempt
	// are rolled back. Without a key, record is nil and only the writes are committed.
	//
	// An error means that nothing was stored: [ErrTransactionConflict] (run the handler again), [ErrTransactionAborted] (a
	// statement failed, and the handler did not say so), [ErrTransactionEnded] (the handler ended the transaction
	// itself), [ErrStoreUnavailable] (it did not happen). [ErrOutcomeUnknown] alone means that it may have happened.
	Complete(ctx context.Context, record *Record, retention time.Duration) (Settled, error)

	// Refuse rolls the handler's writes back, and keeps record nevertheless. Where another attempt came first its record
	// stands, as with Complete. Without a key it is Release.
	Refuse(ctx context.Context, record *Record, retention time.Duration) (Settled, error)

	// Release rolls the handler's writes back and frees the key. [ErrTransactionConflict] says that the
	// transaction had failed for a reason that running the handler again can cure. Any other error is about the clean-up:
	// the writes are gone all the same, at the latest when the store notices that their owner is.
	Release(ctx context.Context) error
}

// Chain is an Attempt that can keep recovery points. The attempts of a store whose users may leave the database are Chains;
// handlers without steps run on any Attempt.
//
// A chain is a series of transactions. Between them the key belongs to the attempt by a row (pending, with an owner token that
// is the attempt's alone, and a lease) and by nothing else: no connection, no lock. Claim treats such a row so: while the
// lease lasts, it returns [ErrInProgress]; after that it returns a Chain whose Progress is what the row holds, and changes
// nothing yet. The row becomes the new attempt's with the first Save, Detach or Yield. Each of these compares the token with what the
// attempt has read or written last, and replaces it by another: an owner that comes back and an attempt that has read its
// row cannot both go on. Whoever compares in vain gets [ErrLeaseLost], and nothing of that call is committed. While another
// attempt has taken over and not yet saved, Begin may wait, within the store's bound. A pending row never expires, and no Reap deletes it.
//
// Complete, Refuse and Release work with and without such a row. Complete and Refuse turn it into the completed record, by the
// same comparison, and forget steps and request; if they fail for another reason than [ErrOutcomeUnknown], the lease ends and the
// reason is kept, in words that hold no data; with [ErrTransactionEnded], Completions is [Held] from then on. Release rolls
// back and leaves the row as it is.
//
// The store's clock measures leases. None of the methods is called after one of those that end an attempt, and all but Renew are
// called one at a time.
type Chain interface {
	Attempt

	// Progress returns what earlier attempts have left, as Claim has read it, or nil if the key is new.
	Progress() *Progress

	// Begin makes sure that the handler has a transaction in which it has written nothing, and that the key is still the
	// attempt's. [ErrStepMisuse] says that the handler has written outside of a step. A transaction whose snapshot is older than its
	// lock may look into the past; then it is Save that fails.
	Begin(ctx context.Context) error

	// Save commits what was written since Begin together with progress, or, after Detach, progress alone, and renews the lease.
	// It is not in doubt when Save returns: nil says that it is committed, an error that it is not, and
	// [ErrOutcomeUnknown] alone that it may be.
	Save(ctx context.Context, progress Progress, lease time.Duration) error

	// Detach commits progress without a new step, and renews the lease. Nothing but that is held then, and the handler has no
	// transaction, until Save or Undo. [ErrStepMisuse] is as with Begin.
	Detach(ctx context.Context, progress Progress, lease time.Duration) error

	// Undo ends a step without keeping it: what was written since Begin is rolled back. [ErrTransactionConflict] says that it
	// was a conflict, [ErrTransactionEnded] that the handler ended the transaction itself. The attempt goes on.
	Undo(ctx context.Context) error

	// Renew extends the lease of an attempt that has saved or detached. It may be called while a foreign call runs.
	Renew(ctx context.Context, lease time.Duration) error

	// Yield ends an attempt at a key that has a row: it rolls back what is open, keeps progress, and ends the lease now, so that
	// the next attempt need not wait for it.
	Yield(ctx context.Context, progress Progress) error
}

// Progress is what a store keeps of a pending key.
type Progress struct {
	Fingerprint Fingerprint
	// RecoveryPoint is the name of the last step that was kept: for people to read. Steps is what counts; the engine wrote it, and
	// resumes a key only where the two agree.
	RecoveryPoint string
	Steps         []byte
	// Request is what the completer makes the request of. May be nil. In a store it is sealed, as Steps is, where Config.Sealer is set;
	// a Resume gets it as it was.
	Request []byte
	// Attempt counts the attempts at the key from 1, and Completions those among them that the completer made.
	Attempt, Completions int
	// LastError says why the last attempt ended, where it could tell.
	LastError string
}

// Held is what Completions is of a key that nobody resumes, neither a client nor the completer, until an operator has looked at
// it and set it back: a handler has ended its own transaction, so that running it again could repeat what it has committed.
const Held = math.MaxInt32

// Recoverer is a Store that can list its pending keys. The completer needs it.
type Recoverer interface {
	Store

	// Pending lists, oldest first, the pending keys that are due. It changes nothing. A store of several databases may return an error
	// together with what it has found, and does so where one of them cannot be asked; the completer goes on with the rest.
	Pending(ctx context.Context, due Due) (PendingKeys, error)
}

// Due says which pending keys the completer may resume now: those whose lease is over, and which it has tried less than
// MaxCompletions times; and after its n-th attempt no sooner than Backoff·2ⁿ⁻¹, at most MaxBackoff, after that ended.
type Due struct {
	Limit               int
	MaxCompletions      int
	Backoff, MaxBackoff time.Duration // MaxBackoff 0: no pause
}

// PendingKeys is what Pending found.
type PendingKeys struct {
	Keys []Pending
	// Stuck is the number of pending keys whose lease is over and which the completer has given up.
	Stuck int
}

// Pending is a key whose operation was begun and not ended.
type Pending struct {
	Key Key
	Progress
}

// Settled is how an attempt ended.
type Settled struct {
	// Record is the record that stands. It is the very pointer that was passed in if this attempt's writes are in.
	Record *Record
	// ReadBack reports that the commit's reply was lost and that the outcome was read from the store. It is set
	// with an error too: then the writes are known to be rolled back.
	ReadBack bool
}

// Reaped is what one call of Reap did.
type Reaped struct {
	// Deleted is the number of records deleted.
	Deleted int
	// Busy reports that another process is reaping, and that nothing was done here.
	Busy bool
}
