package pgstore

import "time"

var (
	LockOf     = lockOf
	ReaperLock = reaperLock
)

// RenewSQL and PutSQL are the statements that move a lease and a recovery point.
func (s *Store) RenewSQL() string { return s.sql.renew }
func (s *Store) PutSQL() string   { return s.sql.put }

// ReapSQL is the statement that deletes what is over.
func (s *Store) ReapSQL() string { return s.sql.reap }

// ReapedFromTheBeginning acts as if such a pass had taken that long, and returns for how long the next one is put off.
func (s *Store) ReapedFromTheBeginning(took time.Duration) time.Duration {
	s.reaping.fromTheBeginning(took)
	return max(0, time.Until(s.reaping.rest))
}

// CountPendingSQL is the statement that counts a scope's pending keys.
func (s *Store) CountPendingSQL() string { return s.sql.countPending }
