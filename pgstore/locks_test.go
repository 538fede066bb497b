package pgstore_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// lockVariable is the lock with which this package's tests run that do not name one: all of it, once for each lock, is what
// make crashes LOCK=… and CI have beside the selection in TestStoreConformsWithEveryLock.
const lockVariable = "ONLYONCE_LOCK"

func lockOfTheRun(t *testing.T) pgstore.Lock {
	t.Helper()
	lock := pgstore.Lock(os.Getenv(lockVariable))
	_, err := pgstore.NewWithConfig(nil, pgstore.Config{Lock: lock})
	require.NoError(t, err, lockVariable)
	return lock
}

// locally is for tests that are about the local advisory lock itself.
func locally(_ *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) { s.Lock = pgstore.LocalLock }

// by is for tests that are about another lock.
func by(lock pgstore.Lock) func(*idempotency.Config, *pgstore.Config, *pgxpool.Config) {
	return func(_ *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) { s.Lock = lock }
}
