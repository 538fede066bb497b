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
	// LateTrailers is a way from the server to the adapter on which nobody copies the request: net/http puts trailers that were not
	// announced into the first one, once its body was read.
	LateTrailers Ability = "trailers that were not announced"
	// Disconnects is a server that tells a request's context when its client is gone.
	Disconnects Ability = "a context that ends with the client"
	// LateBodies is a server that reads a request's body, and asks the client for it, when the middleware does.
	LateBodies Ability = "bodies that come when they are asked for"
	// Strictness is a server that refuses all that is not HTTP, and every expectation that it does not know.
	Strictness Ability = "strictness"
	// EqualLengths is a server that takes two equal lengths for one.
	EqualLengths Ability = "two equal lengths"
	// Dates is a server that sends the Date that a handler sets.
	Dates Ability = "Date of a handler's"
	// Trailers is a server that sends trailers, of a middleware outside.
	Trailers Ability = "trailers"
	// FullWriters is a framework whose writer fails when the response is too large, and not only after the handler.
	FullWriters Ability = "writers that say when they are full"
)

// needs skips the test, with the adapter's reason, if it cannot do what the test is about.
func (w *world) needs(ability Ability) {
	w.Helper()
	if reason, cannot := w.adapter.Cannot[ability]; cannot {
		w.Skipf("no %s: %s", ability, reason)
	}
}

// can is for a test of which only a part needs an ability. What is left out is said.
func (w *world) can(ability Ability) bool {
	w.Helper()
	reason, cannot := w.adapter.Cannot[ability]
	if cannot {
		w.Logf("left out, for there is no %s: %s", ability, reason)
	}
	return !cannot
}
