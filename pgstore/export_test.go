package pgstore

var (
	LockOf     = lockOf
	ReaperLock = reaperLock
)
