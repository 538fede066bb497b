package pgstore

import "time"

// retentionLeft is what [idempotency.Record] says of a record whose row has so many microseconds left.
func retentionLeft(microseconds int64) time.Duration {
	return time.Duration(microseconds) * time.Microsecond
}
