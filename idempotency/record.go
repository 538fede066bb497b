package idempotency

import "time"

// Response is what a handler answered: enough to answer every retry with the same bytes. It is not changed once it has
// been handed over, so that stores and waiting duplicates may share its slices.
type Response struct {
	// Status is an HTTP status, or 0 outside HTTP.
	Status int
	// Header holds the headers that a replay repeats, as the adapter wrote them ("Name: value\r\n" each). A store keeps
	// the bytes and does not look into them.
	Header []byte
	// Body is the response's body, byte for byte.
	Body []byte
}

// Record is what a store keeps of a completed key.
type Record struct {
	Fingerprint Fingerprint
	Response    Response
	// Left is how much of the retention was left when the store read the record, by the store's clock: at most that, and at no moment
	// before the call that returned it. Stores set it on what [Store.Claim] and [Store.Lookup] return, and ignore it on what they are
	// given. 0 says that the store does not tell; Config.Cache does not take such a record.
	Left time.Duration
}
