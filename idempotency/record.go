package idempotency

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
}
