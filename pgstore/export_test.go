package pgstore

import (
	"time"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

var (
	LockOf     = keytable.LockOf
	ReaperLock = keytable.ReaperLock
)

// RenewSQL and PutSQL are the statements that move a lease and a recovery point.
func (s *Store) RenewSQL() string { return s.sql.Renew }
func (s *Store) PutSQL() string   { return s.sql.Put }

// ReapSQL is the statement that deletes what is over.
func (s *Store) ReapSQL() string { return s.sql.Reap }

// ReapedFromTheBeginning acts as if such a pass had taken that long, and returns for how long the next one is put off.
func (s *Store) ReapedFromTheBeginning(took time.Duration) time.Duration {
	s.reaping.FromTheBeginning(took)
	return s.reaping.Rest()
}

// CountPendingSQL is the statement that counts a scope's pending keys.
func (s *Store) CountPendingSQL() string { return s.sql.CountPending }

// AcquireSQL, SettleSQL, ExtendSQL and FreeSQL are the statements of a loan.
func (s *Store) AcquireSQL() string { return s.sql.Acquire }
func (s *Store) SettleSQL() string  { return s.sql.Settle }
func (s *Store) ExtendSQL() string  { return s.sql.Extend }
func (s *Store) FreeSQL() string    { return s.sql.Free }
