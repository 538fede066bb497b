package pgstore

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

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
	claim   []byte              // with InsertClaim: the owner token of the row that the open transaction has inserted
	adopted bool                // or found: see adopt

	mu       sync.Mutex               // for what follows: the handler's goroutines come by Tx
	*phase                            // the open transaction; nil between two
	first    phase                    // that of the claim, which is mostly the only one
	traced   atomic.Pointer[pgx.Conn] // that of the open transaction, for OutsideTracer
	detached bool                     // a foreign call runs
	yields   bool                     // Yield has been called
	over     bool                     // Complete, Refuse, Release or Yield was called
}

// phase is one transaction of an attempt, and the connection that it is on.
type phase struct {
	conn  *pgxpool.Conn
	began time.Time // now() of the transaction: its identity
	table uint32    // the table that was read
	stuck bool      // a goroutine of the handler did not leave the connection
	tx    guardedTx
	guard guard
}

// on makes the claim's transaction the open one.
func (a *attempt) on(conn *pgxpool.Conn) {
	a.first.conn = conn
	a.phase = &a.first
	a.traced.Store(conn.Conn())
}

func (p *phase) hold(tx pgx.Tx) {
	p.tx = guardedTx{Tx: tx, guard: &p.guard}
}

// Context lets the handler find the transaction, by Tx.
func (a *attempt) Context(ctx context.Context) context.Context {
	return &txContext{ctx, a}
}

type txContext struct {
	context.Context
	attempt *attempt
}

func (c *txContext) Value(key any) any {
	if key == (txKey{}) {
		return c.attempt
	}
	return c.Context.Value(key)
}

// current returns the transaction of the step that runs or, outside of steps, the open one, and opens one where there is none.
func (a *attempt) current(ctx context.Context) pgx.Tx {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.phase != nil: // and if the handler has returned, it says so
		return &a.tx
	case a.over:
		return noTx
	case a.detached:
		return failedTx(closedTx, ErrTxForeign)
	}
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	if err := a.open(ctx); err != nil {
		return failedTx(closedTx, err)
	}
	return &a.tx
}

// Complete inserts the record behind the handler's writes and commits both.
func (a *attempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return idempotency.Settled{}, errOver
	}
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
	last := &ending{batch: &pgx.Batch{}, record: record}
	switch r := record; {
	case a.keyless:
	case a.row.Kept():
		last.insertAt = last.queue(a.store.sql.CompleteChain, a.key.Scope, a.key.Value,
			r.Response.Status, notNil(r.Response.Header), notNil(r.Response.Body), retention.Microseconds(), a.row.Owner, a.began, a.table, record.Fingerprint[:])
	case a.claim != nil:
		a.queueCompleteClaim(last, retention)
	case !a.guard.bypassed() && wireOf(a.conn).takes(record):
		last = wireOf(a.conn).completion(a, record, retention)
	default:
		a.queueDeleteExpired(last.batch)
		r := record.Response
		last.insertAt = last.queue(a.store.sql.Complete, a.key.Scope, a.key.Value, record.Fingerprint[:],
			r.Status, notNil(r.Header), notNil(r.Body), a.began, retention, a.table)
	}
	if last.wired == nil {
		last.commitAt = last.queue(keytable.CommitSQL)
	}
	settled, err := a.commit(ctx, last)
	return a.settled(ctx, settled, err)
}

// Refuse rolls the handler's transaction back and inserts the record by one of its own, in one round trip: the server takes
// the statements in order, and the lock is let go for an instant only. Whoever takes it in that instant finds out by the primary key.
func (a *attempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	if a.keyless {
		return idempotency.Settled{}, a.Release(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return idempotency.Settled{}, errOver
	}
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	if a.phase == nil {
		if err := a.open(ctx); err != nil {
			return a.noTransaction(ctx, err)
		}
		a.finish(nil)
	}
	last := &ending{batch: &pgx.Batch{}, record: record}
	switch err := a.unusable(ctx); {
	case err == nil:
		last.queue(keytable.SameSQL, a.began)
		last.queue(keytable.RollbackSQL)
	case err != errFailedStatement || a.guard.conflict.Load(): // after the former the transaction is rolled back already
		err = a.orConflict(err)
		a.letGo()
		return a.settled(ctx, idempotency.Settled{}, err)
	}
	last.queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	a.queueLock(last)
	r := record.Response
	if a.row.Kept() {
		last.insertAt = last.queue(a.store.sql.RefuseChain, a.key.Scope, a.key.Value,
			r.Status, notNil(r.Header), notNil(r.Body), retention.Microseconds(), a.row.Owner, record.Fingerprint[:])
		last.commitAt = last.queue(keytable.CommitSQL)
		settled, err := a.commit(ctx, last)
		return a.settled(ctx, settled, err)
	}
	a.queueDeleteExpired(last.batch)
	last.insertAt = last.queue(a.store.sql.Refuse, a.key.Scope, a.key.Value, record.Fingerprint[:],
		r.Status, notNil(r.Header), notNil(r.Body), retention.Microseconds())
	last.commitAt = last.queue(keytable.CommitSQL)
	settled, err := a.commit(ctx, last)
	return a.settled(ctx, settled, err)
}

// Release rolls the handler's transaction back.
func (a *attempt) Release(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return errOver
	}
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
	switch err {
	case nil:
		err = a.rollback(ctx)
	case errFailedStatement:
		err = nil
	}
	a.unclaim(ctx, err)
	return a.orConflict(err)
}

// orConflict returns [idempotency.ErrTransactionConflict] instead of err if that is why the transaction failed. That the handler
// ended it is worse, and stays.
func (a *attempt) orConflict(err error) error {
	if err != errEnded && a.guard.conflict.Load() {
		return idempotency.ErrTransactionConflict
	}
	return err
}

// rollback rolls back, and fails if it is not the transaction that took the lock.
func (a *attempt) rollback(ctx context.Context) error {
	if a.keyless {
		_, err := a.conn.Exec(ctx, keytable.RollbackSQL)
		return err
	}
	batch := &pgx.Batch{}
	batch.Queue(keytable.SameSQL, a.began)
	batch.Queue(keytable.RollbackSQL)
	err := a.conn.SendBatch(ctx, batch).Close()
	if err != nil && a.status() != 'I' {
		_, _ = a.conn.Exec(ctx, keytable.RollbackSQL)
	}
	if sqlstate, _ := code(err); sqlstate == "22012" {
		return errEnded
	}
	return err
}

func (a *attempt) status() byte { return a.conn.Conn().PgConn().TxStatus() }

// unusable returns nil if the transaction can go on, and else why it cannot. A transaction that a failed statement has aborted is
// rolled back then, and the error is errFailedStatement itself.
func (a *attempt) unusable(ctx context.Context) error {
	conn := a.conn.Conn()
	switch {
	case a.guard.stray.Load():
		return idempotency.ErrTransactionAborted.Because(known("pgstore: a goroutine of the handler was using the transaction when the handler returned: " +
			"wait for the goroutines that it starts"))
	case a.guard.ended.Load():
		if a.status() != 'I' && !conn.IsClosed() {
			_, _ = conn.Exec(ctx, keytable.RollbackSQL)
		}
		return errEnded
	case conn.IsClosed():
		return idempotency.ErrStoreUnavailable.Because(known("pgstore: the connection was lost while the handler ran"))
	case conn.PgConn().IsBusy(): // the pool closes such a connection, which rolls back
		return idempotency.ErrTransactionAborted.Because(known("pgstore: the handler left a result open: close its rows or batch results before returning"))
	case a.status() == 'I':
		return errEnded
	case a.status() == 'E':
		if _, err := conn.Exec(ctx, keytable.RollbackSQL); err != nil {
			return idempotency.ErrStoreUnavailable.Because(err)
		}
		return errFailedStatement
	}
	return nil
}

// letGo gives the connection back, after which nothing is open. The pool closes it if it is in a transaction still, and with that the server rolls back.
func (a *attempt) letGo() {
	a.traced.Store(nil)
	defer func() { a.phase = nil }()
	if a.stuck {
		a.conn.Hijack() // its socket is closed; the pool makes another one
		return
	}
	if a.guard.largeObjects.Load() {
		// They bypass the guard: what is left of them must not reach the connection's next user.
		_ = a.conn.Conn().Close(canceled)
	}
	a.conn.Release()
}

// finish takes the open transaction from the handler, which is told why from then on, if it comes again.
func (a *attempt) finish(why error) {
	a.guard.why = why
	_, stuck := a.guard.close(func() net.Conn { return a.conn.Conn().PgConn().Conn() }, a.store.config.Timeout)
	a.stuck = a.stuck || stuck
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

// abandon ends an attempt whose handler did not run.
func (a *attempt) abandon() {
	ctx, cancel := a.store.bounded(context.Background())
	defer cancel()
	a.over = true
	a.finish(nil)
	if a.status() != 'I' && !a.conn.Conn().IsClosed() {
		_, _ = a.conn.Exec(ctx, keytable.RollbackSQL)
	}
	a.letGo()
}

func (a *attempt) queueDeleteExpired(batch *pgx.Batch) {
	if a.expired != nil {
		batch.Queue(a.store.sql.DeleteExpired, a.key.Scope, a.key.Value)
	}
}

var (
	errOver  = idempotency.ErrInternal.Because(errors.New("pgstore: the attempt is over: Complete, Refuse and Release may be called once, all together"))
	errEnded = idempotency.ErrTransactionEnded.Because(known("pgstore: the handler ended the transaction by SQL of its own (COMMIT or ROLLBACK): " +
		"leave that to the library, and look into what this request has written"))
	errFailedStatement = idempotency.ErrTransactionAborted.Because(known("pgstore: a statement failed, which aborted the transaction, and the handler reported success: " +
		"return the error, or run what may fail inside tx.Begin (a savepoint)"))
)

// errMoved is what comes of a search_path that the handler has changed, or of a table that was made anew meanwhile.
var errMoved = idempotency.ErrTransactionAborted.Because(known("pgstore: the table is another one than when the key was read: if the handler changed the search_path, " +
	"name the table's schema in pgstore.Config.Schema; if a migration made the table anew, there is nothing to do"))

// canceled is a context that ends a Close at once.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// code returns the SQLSTATE of an error that the server reported, and the column that it names.
func code(err error) (sqlstate, column string) {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code, server.ColumnName
	}
	return "", ""
}

// notNil makes a nil slice an empty one: the columns tell no body from an empty body, and NULL from both.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
