package sqlstore

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Notices has heard called for each notice that the server sends on a connection from now on, with the routine that it comes from and its
// text, until stop is called. driverConn is the driver's connection, as [database/sql.Conn.Raw] has it.
//
// Where commits wait for a synchronous standby the wait can be cancelled, by an operator or by a crash; the server then says of a
// commit that it succeeded, and warns beside it. database/sql has no place for warnings, and each driver another one. Without
// Notices such a commit is taken for one that the standby has. With it the client is told [idempotency.ErrOutcomeUnknown], and the
// retry finds out. The README has the lines for pgx and for lib/pq.
type Notices func(driverConn any, heard func(routine, message string)) (stop func())

// syncWaitRoutine is where the server reports, by a warning beside a successful COMMIT, a cancelled wait for a synchronous standby. Its
// SQLSTATE, 01000, is that of any warning.
const syncWaitRoutine = "SyncRepWaitForLSN"

// errUnreplicated is a COMMIT that was not confirmed by the standby that it had to wait for.
var errUnreplicated = idempotency.ErrOutcomeUnknown.Because(errors.New("sqlstore: committed, but the wait for the synchronous standby was cancelled"))

// commit sends the COMMIT.
func (s *Store) commit(ctx context.Context, on *session) error {
	var unreplicated atomic.Bool
	stop := s.listen(on, func(routine, _ string) {
		if routine == syncWaitRoutine {
			unreplicated.Store(true)
		}
	})
	_, err := on.exec(ctx, keytable.CommitSQL)
	stop()
	if unreplicated.Load() { // the row is there, and may be lost: a connection that ends may have had the time to say so
		return errUnreplicated
	}
	return err
}

// listen calls Notices, if there is one.
func (s *Store) listen(on *session, heard func(routine, message string)) (stop func()) {
	if s.config.Notices == nil {
		return func() {}
	}
	var inner func()
	_ = on.conn.Raw(func(driverConn any) error {
		inner = s.config.Notices(driverConn, heard)
		return nil
	})
	return func() {
		if inner != nil && !on.hung.Load() {
			_ = on.conn.Raw(func(any) error { inner(); return nil })
		}
	}
}
