package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// ending is the last batch of an attempt, and where in it the statements stand that decide.
type ending struct {
	batch    *pgx.Batch
	wired    *wiredEnding // instead of batch, where the connection has a wire
	record   *idempotency.Record
	insertAt int // without a key: 0, as commitAt
	commitAt int
	bounded  bool // the waiting of its statements is: see boundSQL
}

func (e *ending) queue(sql string, args ...any) (at int) {
	e.batch.Queue(sql, args...)
	return e.batch.Len() - 1
}

// sent is what the server said of a last batch. What it says of a statement before the COMMIT is certain: it skips the rest of the
// pipeline. Any error from there on says nothing, not even one that pgconn calls safe to retry.
type sent struct {
	err      error // nil: the COMMIT was answered, by tag
	at       int   // the statement that failed
	certain  bool  // err is the server's word that nothing is committed
	inserted int64
	tag      pgconn.CommandTag
}

func (a *attempt) send(ctx context.Context, last *ending) sent {
	watchCommit(a.conn)
	if last.wired != nil {
		return last.wired.send(ctx, last)
	}
	results := a.conn.SendBatch(ctx, last.batch)
	var s sent
	for ; s.at <= last.commitAt; s.at++ {
		if s.tag, s.err = results.Exec(); s.err != nil {
			break
		}
		if s.at == last.insertAt {
			s.inserted = s.tag.RowsAffected()
		}
	}
	_ = results.Close() // once COMMIT is answered nothing that follows can undo it
	return s.judged(last)
}

func (s sent) judged(last *ending) sent {
	s.certain = s.err != nil && s.at < last.commitAt && certain(s.err)
	return s
}

// commit sends the last batch and says what became of it.
func (a *attempt) commit(ctx context.Context, last *ending) (idempotency.Settled, error) {
	s := a.send(ctx, last)
	switch {
	case s.certain:
		return a.failed(ctx, s.err, s.at, last)
	case s.err != nil:
		return a.readBack(ctx, last.record, s.err)
	}
	unreplicated := commitUnreplicated(a.conn)
	a.letGo()
	switch {
	case s.tag.String() != keytable.CommitSQL:
		return idempotency.Settled{}, errFailedStatement
	case unreplicated:
		return idempotency.Settled{}, errUnreplicated
	case !a.keyless && s.inserted == 0:
		return a.whoWon(ctx, idempotency.ErrTransactionConflict)
	}
	return idempotency.Settled{Record: last.record}, nil
}

var errUnreplicated = idempotency.ErrOutcomeUnknown.Because(errors.New("pgstore: committed, but the wait for the synchronous standby was cancelled"))

// certain reports whether err is the server's own word that a statement failed, on a connection that goes on.
func certain(err error) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	severity := server.SeverityUnlocalized
	if severity == "" {
		severity = server.Severity
	}
	return severity == "ERROR"
}

// failed ends an attempt whose last batch failed at a statement before the COMMIT.
func (a *attempt) failed(ctx context.Context, err error, at int, last *ending) (idempotency.Settled, error) {
	if a.status() != 'I' {
		_, _ = a.conn.Exec(ctx, keytable.RollbackSQL)
	}
	a.letGo()
	if why := a.lostBy(err, at, last); why != nil {
		return a.whoWon(ctx, why)
	}
	switch sqlstate, column := code(err); {
	case a.row.Kept() && sqlstate == "22012" && at == last.insertAt:
		return a.whoWon(ctx, a.lostOrEnded(ctx))
	case sqlstate == "23505" && at == last.insertAt && !a.keyless:
		// Which statement failed says whose constraint it was; the constraint's name is not to be relied on.
		return a.whoWon(ctx, idempotency.ErrTransactionConflict.Because(err))
	case isConflict(err):
		return a.whoWon(ctx, idempotency.ErrTransactionConflict.Because(err))
	case sqlstate == "23502" && at == last.insertAt && column == "state":
		return idempotency.Settled{}, errMoved
	case sqlstate == "23502" && at == last.insertAt, sqlstate == "22012":
		return idempotency.Settled{}, errEnded
	}
	return idempotency.Settled{}, refusedBy(err)
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
	if commitUnreplicated(a.conn) { // the row is there, and may be lost: a connection that ends may have had the time to say so
		_ = a.conn.Conn().Close(canceled)
		a.letGo()
		return idempotency.Settled{}, idempotency.ErrOutcomeUnknown.Because(cause)
	}
	_ = a.conn.Conn().Close(canceled)
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
		other, found, err := a.store.claim(ctx, a.key, pgx.ReadCommitted) // another snapshot could be older than the lock
		switch {
		case found != nil && keytable.Same(found, record):
			return idempotency.Settled{Record: record, ReadBack: true}, nil
		case found != nil:
			return idempotency.Settled{Record: found, ReadBack: true}, nil
		case err == nil:
			other.abandon()
			if other.expired == nil || !keytable.Same(other.expired, record) {
				if refused := refusedCommit(cause); refused != nil {
					return idempotency.Settled{ReadBack: true}, refused
				}
				return idempotency.Settled{ReadBack: true}, idempotency.ErrStoreUnavailable.Because(fmt.Errorf("pgstore: the commit did not happen: %w", cause))
			}
			err = errors.New("pgstore: the record that is there has expired")
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

// refusedCommit returns what a COMMIT means that the server itself refused for a reason of the transaction's own: a conflict, or
// a deferred constraint. Of any other error, even one of the server's, a commit may have come all the same.
func refusedCommit(err error) error {
	if !certain(err) {
		return nil
	}
	if isConflict(err) {
		return idempotency.ErrTransactionConflict.Because(err)
	}
	if sqlstate, _ := code(err); strings.HasPrefix(sqlstate, "23") {
		return idempotency.ErrTransactionAborted.Because(err)
	}
	return nil
}
