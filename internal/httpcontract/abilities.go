package httpcontract

// Ability is what some tests need of an adapter's server beyond HTTP/1.1.
type Ability string

const (
	// HTTP2 is a server that speaks HTTP/2.
	HTTP2 Ability = "HTTP/2"
	// Pipelining is a server that takes a request before the one in front of it is answered.
	Pipelining Ability = "pipelining"
	// Unwrapping is a framework whose writers are those of net/http, and lead to each other by Unwrap.
	Unwrapping Ability = "http.ResponseController"
	// Disconnects is a server that tells a request's context when its client is gone.
	Disconnects Ability = "a context that ends with the client"
)

// needs skips the test, with the adapter's reason, if it cannot do what the test is about.
func (w *world) needs(ability Ability) {
	w.Helper()
	if reason, cannot := w.adapter.Cannot[ability]; cannot {
		w.Skipf("no %s: %s", ability, reason)
	}
}
