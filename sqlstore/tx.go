package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// ErrTxGuarded is what Commit and Rollback of the handler's transaction return. The transaction belongs to the library: it is
// committed together with the response when the handler returns.
var ErrTxGuarded = errors.New("sqlstore: the transaction is committed with the response, not by the handler: " +
	"return normally to commit it, return an error or a status of 400 and above to roll it back")

// ErrNoTx is what every method of [Tx]'s result returns where there is no transaction: outside a protected handler, and after
// it has returned; or sql.ErrTxDone, where the handle has been ended, by the store when the handler had returned or by somebody's Rollback.
var ErrNoTx = errors.New("sqlstore: no transaction in this context: call sqlstore.Tx with the handler's own context, " +
	"inside a handler that the middleware or idempotency.Do protects, and before it returns")

// ErrTxCommitted is what a transaction says that was committed, or rolled back, at a recovery point.
var ErrTxCommitted = errors.New("sqlstore: this transaction has ended with its step: call sqlstore.Tx again")

// ErrTxForeign is what a transaction says inside a foreign call, which must hold none.
var ErrTxForeign = errors.New("sqlstore: no transaction in a foreign call: read before it, and write in a step after it")

type txKey struct{}

// Tx returns the transaction of the handler that ctx belongs to. What is written by it is committed if and only if the
// response is stored. Every call in one handler returns the same transaction.
//
// It is a real [sql.Tx], for whatever takes one. Its Commit and Rollback return [ErrTxGuarded] and end nothing but the *sql.Tx
// that they are called on: database/sql lets nothing more through that one (sql.ErrTxDone), and the next call of Tx
// returns another one on the same transaction. So the usual deferred Rollback is harmless. Savepoints work by their SQL. Statements that were prepared
// on the application's own *sql.DB cannot be used with it ([sql.Tx.Stmt]): prepare them on it, or do not. Rows must be
// closed before the handler returns; what it leaves prepared is closed for it.
//
// Where ctx has no transaction the result is not nil: its methods return an error, [ErrNoTx].
//
// Writes through any other connection are not part of the promise.
//
// In a handler with recovery points it is the transaction of the step that runs; and outside of a step that of the tail, which is
// committed with the response: it begins with the first call of Tx after a step, in three round trips, and takes the key's lock
// again. What an earlier call has returned says [ErrTxCommitted] by then. In a foreign call there is none: [ErrTxForeign].
func Tx(ctx context.Context) *sql.Tx {
	if a, ok := ctx.Value(txKey{}).(*attempt); ok {
		return a.current(ctx)
	}
	return noTx.get()
}

// noTransaction is a transaction whose every method fails by err. One is shared by all that ask, for as long as nobody ends it.
type noTransaction struct {
	err error
	mu  sync.Mutex
	tx  *sql.Tx
	of  *connection
}

var (
	noTx      = &noTransaction{err: ErrNoTx}
	foreignTx = &noTransaction{err: ErrTxForeign}
)

func (n *noTransaction) get() *sql.Tx {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tx == nil || n.of.over.Load() {
		n.of = &connection{why: n.err}
		n.tx = n.of.begin()
	}
	return n.tx
}
