package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
)

// probeWait bounds how long the probe waits for a second connection.
const probeWait = time.Second

// observe claims a key that nobody else has, over one connection, and finds out whether another one is kept off it meanwhile, and no longer. It does not
// ask the server what its locks are worth, but looks. It leaves nothing behind, and two processes that do it at once do not meet.
//
// It is done once for a store. With a pool of one connection there is no other to look by, and nothing is observed; nor is it where no
// connection comes free in time: a busy pool is no fault of the server's. Then the next Check tries again.
func (s *Store) observe(ctx context.Context) error {
	if s.observed.Load() || s.pool.Config().MaxConns < 2 {
		return nil
	}
	key := idempotency.Key{Scope: "onlyonce probe", Value: rand.Text()}
	for _, spell := range []func(context.Context, idempotency.Key) error{s.excludes, s.letsGo} {
		err := spell(ctx, key)
		if errors.Is(err, errNotObserved) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	s.observed.Store(true)
	return nil
}

var errNotObserved = errors.New("pgstore: no second connection was free")

// excludes claims the key by two connections at a time, of which the second must be told that the key is in progress.
func (s *Store) excludes(ctx context.Context, key idempotency.Key) error {
	first, _, err := s.claimOnce(ctx, key, pgx.ReadCommitted)
	if err != nil {
		return probeFailed("a key that nobody has could not be claimed", err)
	}
	defer first.abandon()
	conn, err := s.another(ctx, nil)
	if err != nil {
		return err
	}
	second, _, err := s.claimOn(ctx, conn, key, pgx.ReadCommitted)
	switch {
	case errors.Is(err, idempotency.ErrInProgress):
		return nil
	case err == nil && second != nil:
		second.abandon()
	}
	return probeFailed("two connections have claimed one key at a time", err)
}

// letsGo claims the key by a connection, and by another one once that has let it go.
func (s *Store) letsGo(ctx context.Context, key idempotency.Key) error {
	first, _, err := s.claimOnce(ctx, key, pgx.ReadCommitted)
	if err != nil {
		return probeFailed("a key was still claimed when the transaction that had claimed it was over", err)
	}
	before := first.conn.Conn()
	first.abandon()
	conn, err := s.another(ctx, before)
	if err != nil {
		return err
	}
	second, _, err := s.claimOn(ctx, conn, key, pgx.ReadCommitted)
	if err != nil {
		return probeFailed("a key was still claimed when the transaction that had claimed it was over", err)
	}
	second.abandon()
	return nil
}

// another takes a connection that is not this one.
func (s *Store) another(ctx context.Context, not *pgx.Conn) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err == nil && conn.Conn() == not {
		defer conn.Release()
		conn, err = s.acquire(ctx)
	}
	if err != nil {
		return nil, errNotObserved
	}
	return conn, nil
}

func probeFailed(what string, cause error) error {
	err := fmt.Errorf("pgstore: %s: the locks of this server do not do what Config.Lock relies on. Connect to one primary; through a pooler only in its transaction mode; "+
		"with several entry nodes of Citus set pgstore.ShardLock; where advisory locks do nothing, pgstore.InsertClaim (docs/scaling.md)", what)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, explained(cause))
	}
	return idempotency.ErrStoreUnavailable.Because(err)
}
