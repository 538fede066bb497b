package pgstore

var (
	LockOf     = lockOf
	ReaperLock = reaperLock
)

// RenewSQL and PutSQL are the statements that move a lease and a recovery point.
func (s *Store) RenewSQL() string { return s.sql.renew }
func (s *Store) PutSQL() string   { return s.sql.put }

// CountPendingSQL is the statement that counts a scope's pending keys.
func (s *Store) CountPendingSQL() string { return s.sql.countPending }
