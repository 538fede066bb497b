package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// attempt is one caller's work on a key: one transaction that holds the key's lock or, with recovery points, one after another.
type attempt struct {
	store   *Store
	key     idempotency.Key
	keyless bool
	lock    int64
	expired *idempotency.Record // what is there, if its retention is over
	row     keytable.Pending    // of a key with recovery points

	mu       sync.Mutex // for what follows: the handler's goroutines come by Tx
	*phase              // the open transaction; nil between two
	txs      []*sql.Tx  // what the handler was given, of this transaction and those before
	detached bool       // a foreign call runs
	over     bool       // Complete, Refuse, Release or Yield was called
}

// phase is one transaction of an attempt, and the connection that it is on.
type phase struct {
	conn  *session
	began time.Time // CURRENT_TIMESTAMP of the transaction: its identity
	mark  string    // its identity, without a key
	table int64     // the table that was read
	stuck bool      // a goroutine of the handler did not leave the connection
	bad   bool      // the connection is not to be given back
	guard *guard
}

// begin begins the transaction.
func (p *phase) begin(ctx context.Context, sql string) error {
	p.guard = newGuard(p.conn)
	_, err := p.conn.exec(ctx, sql)
	return err
}

// Context lets the handler find the transaction, by Tx.
func (a *attempt) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, txKey{}, a)
}

// current returns the transaction of the step that runs or, outside of steps, the open one, and opens one where there is none.
func (a *attempt) current(ctx context.Context) *sql.Tx {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.phase != nil: // and if the handler has returned, it says so
	case a.over:
		return noTx.get()
	case a.detached:
		return foreignTx.get()
	default:
		ctx, cancel := a.store.bounded(ctx)
		defer cancel()
		if err := a.open(ctx); err != nil {
			failed := (&connection{why: err}).begin()
			a.txs = append(a.txs, failed)
			return failed
		}
	}
	tx, first := a.guard.transaction()
	if first {
		a.txs = append(a.txs, tx)
	}
	return tx
}

// Complete inserts the record behind the handler's writes and commits both.
func (a *attempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return idempotency.Settled{}, errOver
	}
	defer a.takeBack()
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	if a.phase == nil {
		if err := a.open(ctx); err != nil {
			return a.noTransaction(ctx, err)
		}
		a.finish(nil)
	}
	if err := a.unusable(ctx); err != nil {
		err = a.orConflict(err)
		a.letGo()
		return a.settled(ctx, idempotency.Settled{}, err)
	}
	last := ending{attempt: a, record: record}
	switch r := record; {
	case a.keyless:
		if a.guard.failed.Load() || a.guard.mayEnd.Load() { // the COMMIT of a failed transaction is a roll-back that says so to nobody
			last.same()
		}
	case a.row.Kept():
		last.decide(a.store.sql.CompleteChain, a.key.Scope, a.key.Value, r.Response.Status, notNil(r.Response.Header), notNil(r.Response.Body),
			retention.Microseconds(), a.row.Owner, a.began, a.table, r.Fingerprint[:])
	default:
		last.deleteExpired()
		last.decide(a.store.sql.Complete, a.key.Scope, a.key.Value, r.Fingerprint[:],
			r.Response.Status, notNil(r.Response.Header), notNil(r.Response.Body), a.began, interval(retention), a.table)
	}
	settled, err := last.commit(ctx)
	return a.settled(ctx, settled, err)
}

// Refuse rolls the handler's transaction back and inserts the record by one of its own. The lock is let go in between; whoever takes it
// then finds out by the primary key, or this attempt does.
func (a *attempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	if a.keyless {
		return idempotency.Settled{}, a.Release(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return idempotency.Settled{}, errOver
	}
	defer a.takeBack()
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	if a.phase == nil {
		if err := a.open(ctx); err != nil {
			return a.noTransaction(ctx, err)
		}
		a.finish(nil)
	}
	err := a.unusable(ctx)
	if err == nil {
		err = a.rolledBack(ctx)
	}
	if err != nil {
		err = a.orConflict(err)
		a.letGo()
		return a.settled(ctx, idempotency.Settled{}, err)
	}
	last := ending{attempt: a, record: record}
	last.add(beginSQL[sql.LevelReadCommitted])
	last.add(a.store.sql.Lock, a.lock)
	r := record.Response
	if a.row.Kept() {
		last.decide(a.store.sql.RefuseChain, a.key.Scope, a.key.Value,
			r.Status, notNil(r.Header), notNil(r.Body), retention.Microseconds(), a.row.Owner, record.Fingerprint[:])
	} else {
		if a.expired != nil {
			last.add(a.store.sql.DeleteExpired, a.key.Scope, a.key.Value)
		}
		last.decide(a.store.sql.Refuse, a.key.Scope, a.key.Value, record.Fingerprint[:],
			r.Status, notNil(r.Header), notNil(r.Body), retention.Microseconds())
	}
	settled, err := last.commit(ctx)
	return a.settled(ctx, settled, err)
}

// Release rolls the handler's transaction back.
func (a *attempt) Release(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return errOver
	}
	defer a.takeBack()
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	return a.rollBack(ctx)
}

// rollBack rolls back what is open, if anything is, and gives the connection back. The handler is kept out of it already.
func (a *attempt) rollBack(ctx context.Context) error {
	if a.phase == nil {
		return nil
	}
	defer a.letGo()
	err := a.unusable(ctx)
	if err == nil {
		err = a.rolledBack(ctx)
	}
	return a.orConflict(err)
}

// orConflict returns [idempotency.ErrTransactionConflict] instead of err if that is why the transaction failed. That the handler
// ended it is worse, and stays.
func (a *attempt) orConflict(err error) error { return conflictOr(a.guard, err) }

func conflictOr(g *guard, err error) error {
	if err != errEnded && g.conflict.Load() {
		return idempotency.ErrTransactionConflict
	}
	return err
}

// same fails if the transaction is not the one that the attempt has begun: errEnded; or errFailedStatement, if it has failed.
func (a *attempt) same(ctx context.Context) error {
	var err error
	if a.keyless {
		_, err = a.conn.exec(ctx, markedSQL, a.mark)
	} else {
		_, err = a.conn.exec(ctx, keytable.SameSQL, a.began)
	}
	switch code(err) {
	case divisionByZero:
		return errEnded
	case failedTransaction:
		return failedOrEnded(a.guard)
	}
	return err
}

// failedOrEnded is why a transaction has failed, which cannot be asked any more whether it is the attempt's.
func failedOrEnded(g *guard) error {
	if g.ended.Load() {
		return errEnded
	}
	return errFailedStatement
}

// rolledBack rolls back, and fails if it was not the attempt's transaction. That a statement had failed is no matter then, unless it was
// by a conflict.
func (a *attempt) rolledBack(ctx context.Context) (err error) {
	if a.guard.mayEnd.Load() || a.guard.conflict.Load() {
		if err = a.same(ctx); err == errFailedStatement && !a.guard.conflict.Load() {
			err = nil
		}
	}
	if _, failed := a.conn.exec(ctx, keytable.RollbackSQL); failed != nil {
		a.bad = true
		if err == nil {
			err = idempotency.ErrStoreUnavailable.Because(failed)
		}
	}
	return err
}

// unusable returns why the transaction cannot go on, as far as that can be said without asking the server for more than to forget
// what was prepared.
func (a *attempt) unusable(ctx context.Context) error {
	if a.guard.stray.Load() {
		a.bad = true
		return idempotency.ErrTransactionAborted.Because(known("sqlstore: a goroutine of the handler was using the transaction when the handler returned: " +
			"wait for the goroutines that it starts"))
	}
	rows, err := a.guard.left(ctx)
	switch {
	case err != nil:
		a.bad = true
		return idempotency.ErrStoreUnavailable.Because(err)
	case rows:
		a.bad = true
		return idempotency.ErrTransactionAborted.Because(known("sqlstore: the handler left a result open: close its rows before returning"))
	}
	return nil
}

// letGo gives the connection back, after which nothing is open. A connection that may be in a transaction still is closed, and with that the server rolls back.
func (a *attempt) letGo() {
	p := a.phase
	a.phase = nil
	p.guard.throwOut()
	switch {
	case p.stuck:
		go p.conn.drop() // which waits for whoever is on it
	case p.bad:
		p.conn.drop()
	default:
		p.conn.giveBack()
	}
}

// finish takes the open transaction from the handler, which is told why from then on, if it comes again.
func (a *attempt) finish(why error) {
	a.guard.why = why
	a.stuck = a.guard.close(a.store.config.Timeout) || a.stuck
}

// end takes what is open from the handler for good, and reports whether this is the end of the attempt.
func (a *attempt) end() bool {
	if a.over {
		return false
	}
	a.over = true
	if a.phase != nil {
		a.finish(nil)
	}
	return true
}

// takeBack ends what the handler was given. It is of no use to it any more, and has a goroutine of database/sql's.
func (a *attempt) takeBack() {
	txs := a.txs
	a.txs = nil
	for _, tx := range txs {
		// A goroutine that is stuck in a statement holds its transaction.
		go func() { _ = tx.Rollback() }()
	}
}

// abandon ends an attempt whose handler did not run.
func (a *attempt) abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.finish(nil)
	a.store.abandon(a.conn)
	a.guard.throwOut()
	a.phase = nil
}

var (
	errOver  = idempotency.ErrInternal.Because(errors.New("sqlstore: the attempt is over: Complete, Refuse and Release may be called once, all together"))
	errEnded = idempotency.ErrTransactionEnded.Because(known("sqlstore: the handler ended the transaction by SQL of its own (COMMIT or ROLLBACK): " +
		"leave that to the library, and look into what this request has written"))
	errFailedStatement = idempotency.ErrTransactionAborted.Because(known("sqlstore: a statement failed, which aborted the transaction, and the handler reported success: " +
		"return the error, or run what may fail behind a SAVEPOINT"))
)

// errMoved is what comes of a search_path that the handler has changed, or of a table that was made anew meanwhile.
var errMoved = idempotency.ErrTransactionAborted.Because(known("sqlstore: the table is another one than when the key was read: if the handler changed the search_path, " +
	"name the table's schema in sqlstore.Config.Schema; if a migration made the table anew, there is nothing to do"))

// newMark returns what tells a transaction without a key from others.
func newMark() string { return rand.Text() }
