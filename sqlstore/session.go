package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// session is a connection that is set aside. Transactions on it are begun and ended by statements: see the package's comment.
//
// A statement of the store's own ends with its context even if the driver's does not: lib/pq asks the server to cancel what it waits
// for and waits on, for as long as the network is silent. Such a session is hung, and is of no use any more: its connection ends whenever
// the driver notices.
type session struct {
	conn *sql.Conn
	hung atomic.Bool
}

// grace is what a driver has, from the end of a statement's context, to say so by itself.
const grace = 250 * time.Millisecond

var errHung = errors.New("sqlstore: the database did not answer in time, and the driver waits on")

// bounded does what a driver may wait in for longer than ctx. If it fails by errHung, do goes on; nobody may look at what it writes to.
func (s *session) bounded(ctx context.Context, do func() error) error {
	if s.hung.Load() {
		return errHung
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if reason := recover(); reason != nil { // of a driver's: in this goroutine nobody else would catch it
				done <- fmt.Errorf("sqlstore: the driver panicked: %v", reason)
			}
		}()
		done <- do()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		s.hung.Store(true)
		return errHung
	}
}

// exec sends a statement that has no rows, and returns how many it has changed.
func (s *session) exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	said := make(chan int64, 1)
	err = s.bounded(ctx, func() error {
		result, err := s.conn.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		changed, err := result.RowsAffected()
		said <- changed
		return err
	})
	if err != nil {
		return 0, err
	}
	return <-said, nil
}

// row sends a statement that has one row, and reads it by scan, which may go on after an error.
func (s *session) row(ctx context.Context, scan func(*sql.Row) error, query string, args ...any) error {
	return s.bounded(ctx, func() error { return scan(s.conn.QueryRowContext(ctx, query, args...)) })
}

// into returns a scan that reads a row's columns into dest.
func into(dest ...any) func(*sql.Row) error {
	return func(row *sql.Row) error { return row.Scan(dest...) }
}

// giveBack gives the connection back, whose transaction is over.
func (s *session) giveBack() {
	if s.hung.Load() {
		s.drop()
		return
	}
	_ = s.conn.Close()
}

// drop closes the connection, with which the server rolls back what is open on it.
func (s *session) drop() {
	drop := func() {
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = s.conn.Close()
	}
	if s.hung.Load() {
		go drop() // which waits for whoever is on it
		return
	}
	drop()
}

// abandon rolls back under a bound of the store's, whatever became of the context, and gives the connection back; or drops it, where that
// does not work.
func (s *Store) abandon(on *session) {
	ctx, cancel := s.bounded(context.Background())
	defer cancel()
	if _, err := on.exec(ctx, keytable.RollbackSQL); err != nil {
		on.drop()
		return
	}
	on.giveBack()
}

// unsure is an error of a COMMIT, whose kind says nothing: it may have come all the same.
type unsure struct{ err error }

func (u unsure) Error() string { return u.err.Error() }

// transact does in a transaction of its own what is none of a handler's. An error of do's is returned as it is, after a roll-back;
// one of the COMMIT is unsure.
func (s *Store) transact(ctx context.Context, do func(on *session) error) error {
	on, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	_, err = on.exec(ctx, beginSQL[sql.LevelReadCommitted])
	if err == nil {
		err = do(on)
	}
	if err != nil {
		s.abandon(on)
		return err
	}
	if err := s.commit(ctx, on); err != nil {
		on.drop()
		if err == errUnreplicated {
			return err
		}
		return unsure{err}
	}
	on.giveBack()
	return nil
}
