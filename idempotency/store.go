package idempotency

import (
	"context"
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
	// A record whose retention is over counts as absent. A ctx that ends makes Claim fail and leaves nothing behind.
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
