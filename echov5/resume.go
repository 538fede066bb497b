package idempotencyecho

import (
	"net/http"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// ResumeConfig configures [Resume]. The zero value works where nothing outside of the middleware asks who is calling.
type ResumeConfig struct {
	// Authenticate returns r with what the service's own authentication would have put into its context or its headers: no
	// credential is stored, and the one that the client sent may be over by now. scope is what Config.Scope returned when the
	// request first came. The context of what it returns must derive from that of r. An error ends this attempt of the
	// completer's, and is kept with the key. Default: r as it is, which authentication can let in by [idempotency.Resuming].
	Authenticate func(r *http.Request, scope string) (*http.Request, error)
}

// Resume returns what makes the request of a pending key again, for [idempotency.NewCompleter]. handler is what serves the
// clients, usually the *echo.Echo, so that the request finds its way as it did when it first came.
//
// Method, URI, host and body are those that the middleware saw; of the headers there are those that it stores (see
// Config.KeepHeaders); the remote address is empty. Key, scope and fingerprint are those that are stored: Config.Scope, Config.Key
// and Config.Validate are not called.
//
// The response is stored for the client's retry, and goes nowhere else. An answer of 400 or above is an error; a refusal, such as
// 402, completes the key all the same. Resume panics if handler is nil.
func Resume(handler http.Handler, config ResumeConfig) idempotency.Resume {
	return httpidem.Resume(handler, config.Authenticate)
}
