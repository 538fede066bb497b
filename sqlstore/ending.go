package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// ending is the last statements of an attempt, which are sent one by one; the COMMIT only once all others were answered. So whatever
// fails before it is certain, be it the connection: nothing is committed.
type ending struct {
	attempt    *attempt
	record     *idempotency.Record
	statements []text
	decidesAt  int
	decides    bool
}

type text struct {
	sql  string
	args []any
	same bool // instead of sql: whether the transaction is the attempt's
}

func (e *ending) add(sql string, args ...any) {
	e.statements = append(e.statements, text{sql: sql, args: args})
}

// same has the transaction's identity compared.
func (e *ending) same() { e.statements = append(e.statements, text{same: true}) }

// decide adds the statement that stores what is stored.
func (e *ending) decide(sql string, args ...any) {
	e.decides, e.decidesAt = true, len(e.statements)
	e.add(sql, args...)
}

// deleteExpired makes room for the record. Were the handler to have ended the transaction, it would be a write of its own.
func (e *ending) deleteExpired() {
	if e.attempt.expired != nil {
		e.same()
		e.add(e.attempt.store.sql.DeleteExpired, e.attempt.key.Scope, e.attempt.key.Value)
	}
}

// send sends all but the COMMIT. at is the statement that failed, and changed the number of rows that the deciding one has.
func (e *ending) send(ctx context.Context) (at int, changed int64, err error) {
	for at, t := range e.statements {
		if t.same {
			if err := e.attempt.same(ctx); err != nil {
				return at, 0, err
			}
			continue
		}
		rows, err := e.attempt.conn.exec(ctx, t.sql, t.args...)
		if err != nil {
			return at, 0, err
		}
		if e.decides && at == e.decidesAt {
			changed = rows
		}
	}
	return len(e.statements), changed, nil
}

// commit sends the statements and says what became of them.
func (e *ending) commit(ctx context.Context) (idempotency.Settled, error) {
	a := e.attempt
	at, changed, err := e.send(ctx)
	if err != nil {
		return e.failed(ctx, err, e.decides && at == e.decidesAt)
	}
	err = a.store.commit(ctx, a.conn)
	if err == errUnreplicated {
		a.bad = true
		a.letGo()
		return idempotency.Settled{}, err
	}
	if err != nil {
		return a.readBack(ctx, e.record, err)
	}
	a.letGo()
	if e.decides && changed == 0 {
		return a.whoWon(ctx, idempotency.ErrTransactionConflict)
	}
	return idempotency.Settled{Record: e.record}, nil
}

// failed ends an attempt whose last statements failed before the COMMIT was sent. decided says that it was the one that decides.
func (e *ending) failed(ctx context.Context, err error, decided bool) (idempotency.Settled, error) {
	a := e.attempt
	guard := a.guard
	a.endFailed(ctx)
	switch sqlstate := code(err); {
	case a.row.Kept() && sqlstate == divisionByZero && decided:
		return a.whoWon(ctx, a.lostOrEnded(ctx))
	case sqlstate == uniqueViolation && decided:
		// Which statement failed says whose constraint it was; the constraint's name is not to be relied on.
		return a.whoWon(ctx, idempotency.ErrTransactionConflict.Because(err))
	case isConflict(err):
		return a.whoWon(ctx, idempotency.ErrTransactionConflict.Because(err))
	case sqlstate == failedTransaction:
		return idempotency.Settled{}, conflictOr(guard, failedOrEnded(guard))
	case err == errFailedStatement:
		return idempotency.Settled{}, conflictOr(guard, err)
	case sqlstate == notNullViolation && decided && column(err) == "state":
		return idempotency.Settled{}, errMoved
	case sqlstate == notNullViolation && decided, sqlstate == divisionByZero:
		return idempotency.Settled{}, errEnded
	case code(err) == "" && !errors.As(err, new(*idempotency.Error)):
		return idempotency.Settled{}, idempotency.ErrStoreUnavailable.Because(errors.Join(known("sqlstore: the connection was lost before the commit"), err))
	}
	return idempotency.Settled{}, refusedBy(err)
}

// endFailed rolls back what a failed statement has left, and gives the connection back.
func (a *attempt) endFailed(ctx context.Context) {
	if _, err := a.conn.exec(ctx, keytable.RollbackSQL); err != nil {
		a.bad = true
	}
	a.letGo()
}

// whoWon reads the record of the attempt that came first. Without one, none has: otherwise is returned.
func (a *attempt) whoWon(ctx context.Context, otherwise error) (idempotency.Settled, error) {
	if a.keyless {
		return idempotency.Settled{}, otherwise
	}
	record, err := a.store.Lookup(ctx, a.key)
	if err != nil {
		return idempotency.Settled{}, err
	}
	if record == nil {
		return idempotency.Settled{}, otherwise
	}
	return idempotency.Settled{Record: record}, nil
}

// readBack finds out whether a commit happened whose reply was lost. It claims the key anew: once it has the lock, the old
// transaction has ended, and the row is there or it is not. As long as the lock is held the old backend may still commit.
func (a *attempt) readBack(ctx context.Context, record *idempotency.Record, cause error) (idempotency.Settled, error) {
	a.bad = true
	a.letGo()
	if a.keyless {
		if refused := refusedCommit(cause); refused != nil {
			return idempotency.Settled{}, refused
		}
		return idempotency.Settled{}, &idempotency.Error{
			Code:   idempotency.CodeOutcomeUnknown,
			Detail: "The operation may or may not have taken effect, and without an idempotency key that cannot be found out by retrying. Look for its effect before sending it again.",
			Err:    cause,
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.store.config.ReadBackTimeout)
	defer cancel()
	if a.row.Kept() {
		return a.readBackChain(ctx, record, cause)
	}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		other, found, err := a.store.claim(ctx, a.key, sql.LevelReadCommitted) // another snapshot could be older than the lock
		switch {
		case found != nil && keytable.Same(found, record):
			return idempotency.Settled{Record: record, ReadBack: true}, nil
		case found != nil:
			return idempotency.Settled{Record: found, ReadBack: true}, nil
		case err == nil:
			other.abandon()
			if other.expired == nil || !keytable.Same(other.expired, record) {
				return idempotency.Settled{ReadBack: true}, notCommitted(cause, "sqlstore: the commit did not happen")
			}
			err = errors.New("sqlstore: the record that is there has expired")
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return idempotency.Settled{}, idempotency.ErrOutcomeUnknown.Because(errors.Join(cause, err))
		}
	}
}

// notCommitted is the error of a COMMIT that is known not to have come about.
func notCommitted(cause error, what string) error {
	if refused := refusedCommit(cause); refused != nil {
		return refused
	}
	return idempotency.ErrStoreUnavailable.Because(fmt.Errorf("%s: %w", what, cause))
}

// refusedCommit returns what a COMMIT means that the server itself refused for a reason of the transaction's own: a conflict, or
// a deferred constraint. Of any other error, even one of the server's, a commit may have come all the same.
func refusedCommit(err error) error {
	if isConflict(err) {
		return idempotency.ErrTransactionConflict.Because(err)
	}
	if strings.HasPrefix(code(err), "23") {
		return idempotency.ErrTransactionAborted.Because(err)
	}
	return nil
}
