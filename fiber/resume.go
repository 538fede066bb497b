package idempotencyfiber

import (
	"net/http"
	"sync"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// ResumeConfig configures [Resume]. The zero value works where nothing outside of the middleware asks who is calling.
type ResumeConfig struct {
	// Authenticate returns r with what the service's own authentication needs in its headers or finds in its context (see
	// [Context]): no credential is stored, and the one that the client sent may be over by now. scope is what Config.Scope
	// returned when the request first came. The context of what it returns must derive from that of r. An error ends this
	// attempt of the completer's, and is kept with the key. Default: r as it is, which authentication can let in by [Resuming].
	Authenticate func(r *http.Request, scope string) (*http.Request, error)
}

// Resume returns what makes the request of a pending key again, for [idempotency.NewCompleter]. app is what serves the clients, so
// that the request finds its way as it did when it first came.
//
// Method, URI, host and body are those that the middleware saw; of the headers there are those that it stores (see
// Config.KeepHeaders); the remote address is zero. Key, scope and fingerprint are those that are stored: Config.Scope, Config.Key
// and Config.Validate are not called.
//
// The response is stored for the client's retry, and goes nowhere else. An answer of 400 or above is an error; a refusal, such as
// 402, completes the key all the same. Resume panics if app is nil.
func Resume(app *fiber.App, config ResumeConfig) idempotency.Resume {
	if app == nil {
		panic("idempotencyfiber: Resume needs an app: the one that serves the clients")
	}
	handler := sync.OnceValue(app.Handler) // which finishes the routes: there may be more to come
	return httpidem.Resume(fasthttpidem.Handler(func(fctx *fasthttp.RequestCtx) { handler()(fctx) }), config.Authenticate)
}

// Resuming returns the pending key for which the completer makes the request. No client can bring that about: what asks for credentials
// may take the key's scope for the caller's identity, since it was that when the request first came, and put it into the locals.
func Resuming(c fiber.Ctx) (*idempotency.Pending, bool) {
	return idempotency.Resuming(Context(c))
}
