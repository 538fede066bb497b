package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Check asks the server whether the store can keep its promise there, and says what to do if not: the table is not
// there or lacks a column, the server is a standby, the role may not use the table, or commits wait for a
// standby and the role may not confirm them, or [Config].Notices does not hear of it; or the key table is not distributed where others are (Citus).
// Call it at start, and where readiness is asked for.
//
// The first time that all of this is well it also observes, over two connections and within Config.Timeout, that a claim keeps another one off its key
// for as long as its transaction lasts: a server whose advisory locks do nothing says of them what any other does. It leaves no row. With a pool of one connection, or
// none free, it is left out. Connections of one pool may lead to one entry node of several; then nothing is seen of the others.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return fmt.Errorf("sqlstore: the database cannot be reached; check its URL, and that it runs: %w", err)
	}
	err = s.check(ctx, conn)
	conn.giveBack()
	if err != nil {
		return err
	}
	return s.observe(ctx)
}

func (s *Store) check(ctx context.Context, conn *session) error {
	var standby, synchronous, confirms, rights bool
	if err := conn.row(ctx, into(&standby, &synchronous, &confirms, &rights), s.sql.Check, s.sql.table); err != nil {
		return explained(err)
	}
	switch {
	case standby:
		return errStandby
	case !rights:
		return errors.New("sqlstore: the role may not use the table idempotency_keys: grant it SELECT, INSERT, UPDATE and DELETE")
	case synchronous && !confirms:
		return idempotency.ErrStoreUnavailable.Because(errors.New("sqlstore: commits wait for a standby, and the role may not call what confirms a replay: " +
			"grant it EXECUTE on pg_catalog.pg_logical_emit_message"))
	}
	if synchronous {
		if err := s.checkNotices(ctx, conn); err != nil {
			return err
		}
	}
	var citus, undistributed bool
	if err := conn.row(ctx, into(&citus), keytable.CitusSQL); err != nil || !citus {
		return err
	}
	if err := conn.row(ctx, into(&undistributed), s.sql.Undistributed); err != nil || !undistributed {
		return err
	}
	return idempotency.ErrStoreUnavailable.Because(errors.New("sqlstore: tables of this database are distributed by Citus, and idempotency_keys is not, so that a handler's writes and " +
		"its key would be two commits: run the migration in migrations/citus, with the keys colocated with those tables"))
}

const noticed = "onlyonce: notices are seen"

// checkNotices has the server say something, and looks whether it is heard.
func (s *Store) checkNotices(ctx context.Context, conn *session) error {
	heard := false
	stop := s.listen(conn, func(_, message string) { heard = heard || message == noticed })
	_, err := conn.exec(ctx, `DO $$ BEGIN RAISE WARNING '`+noticed+`'; END $$`)
	stop()
	if err != nil {
		return explained(err)
	}
	if !heard {
		return idempotency.ErrStoreUnavailable.Because(errors.New("sqlstore: commits wait for a standby (synchronous_standby_names), " +
			"and a cancelled wait would be taken for success: set sqlstore.Config.Notices, as the README of sqlstore has it for the driver"))
	}
	return nil
}

// observeWait bounds how long the observation waits for a second connection.
const observeWait = time.Second

// observe claims a key that nobody else has, over one connection, and finds out whether another one is kept off it meanwhile, and no
// longer. It is done once for a store; a busy pool is no fault of the server's, and then the next Check tries again.
func (s *Store) observe(ctx context.Context) error {
	if s.observed.Load() || s.db.Stats().MaxOpenConnections == 1 {
		return nil
	}
	key := idempotency.Key{Scope: "onlyonce probe", Value: rand.Text()}
	first, _, err := s.claimOnce(ctx, key, sql.LevelReadCommitted)
	if err != nil {
		return unfit("a key that nobody has could not be claimed", err)
	}
	waiting, cancel := context.WithTimeout(ctx, observeWait)
	defer cancel()
	conn, err := s.acquire(waiting)
	if err != nil {
		first.abandon()
		return nil
	}
	second, _, err := s.claimOn(ctx, conn, key, sql.LevelReadCommitted)
	if err == nil && second != nil {
		second.abandon()
	}
	first.abandon()
	if !errors.Is(err, idempotency.ErrInProgress) {
		return unfit("two connections have claimed one key at a time", err)
	}
	if first, _, err = s.claimOnce(ctx, key, sql.LevelReadCommitted); err != nil {
		return unfit("a key was still claimed when the transaction that had claimed it was over", err)
	}
	first.abandon()
	s.observed.Store(true)
	return nil
}

func unfit(what string, cause error) error {
	err := fmt.Errorf("sqlstore: %s: the locks of this server do not do what the store relies on. Connect to one primary; through a pooler only in its transaction mode; "+
		"for several entry nodes of Citus, and where advisory locks do nothing, there is pgstore with another Config.Lock (docs/scaling.md)", what)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, explained(cause))
	}
	return idempotency.ErrStoreUnavailable.Because(err)
}
