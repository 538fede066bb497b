// Package idempotencyfiber protects Fiber v2 handlers: a request with an idempotency key takes effect once, and every retry of it gets
// the same bytes.
//
// Mount it after authentication, since the scope of a key is the caller's identity, after rate limiting, and inside of what recovers from
// panics (fasthttp does not), compresses or logs. Bound a handler by idempotency.Config.HandlerTimeout, not by Fiber's timeout.
//
// A handler's transaction is pgstore.Tx(c.UserContext()). It is not pgstore.Tx(c): a fiber.Ctx is a context.Context that knows nothing but
// its locals, and what that returns says so with its first statement. c.UserContext() outlives the client, and is bounded by the engine.
//
// An error that a handler returns goes through the app's ErrorHandler, and the response that this writes decides: fiber.NewError(402) is
// a refusal, which is kept, and a plain error is a 500, which is not.
//
// What a handler writes is sent when it is committed. To stream (SetBodyStreamWriter, server-sent events) and to take over the connection
// (Hijack, websockets) is refused: it is rolled back and answered by 500. A body that the handler opens (SendStream, SendFile) is read
// before the commit. c.Context().EarlyHints, and what is written to c.Context().Conn(), leaves at once, which nobody can keep it from:
// not in a protected handler.
//
// A handler that names recovery points (idempotency.Atomic, idempotency.Foreign) is finished without its client by an
// idempotency.Completer, for which [Resume] makes the request again.
package idempotencyfiber

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// Config configures [Middleware]. Scope is mandatory; the rest has defaults.
type Config struct {
	// Scope returns the tenant that the request's key belongs to, from the authenticated identity. An error, or "", is
	// answered by 403 scope-missing. Where all callers share their keys, use [SharedScope].
	Scope func(c *fiber.Ctx) (string, error)
	// Next lets a request pass as if the middleware were not there, if it returns true: no transaction, and nothing stored.
	// Default: none passes but those of other Methods.
	Next func(c *fiber.Ctx) bool
	// Headers are the names of the header that carries the key; a request may have one of them. Default: Idempotency-Key.
	Headers []string
	// Key finds the key elsewhere than in a header, for instance in the body, which is passed along. "" means that there is
	// none. Headers is not used then. Default: nil.
	Key func(c *fiber.Ctx, body []byte) (string, error)
	// Optional lets a request without a key pass. It runs in a transaction all the same, and nothing is stored.
	// Default: such a request is answered by 400 key-missing.
	Optional bool
	// MaxKeyBytes is the greatest length of a key, as it is without quotes and escapes. A longer one is answered by
	// 400 key-invalid; [MinLength] is the other end. Default: 255, which is also the most that there can be.
	MaxKeyBytes int
	// Validate refuses keys beyond the rules of the format: [UUIDOnly], [MinLength], or the user's own. Its error is
	// answered by 400 key-invalid.
	Validate func(key string) error
	// Methods are the methods that are protected; the others pass through untouched. Default: POST and PATCH.
	Methods []string
	// MaxRequestBytes is the largest body. A larger one is answered by 413 request-too-large, and nothing is done. What is over
	// fiber.Config.BodyLimit is answered by Fiber before it comes here. Default: 1 MiB.
	MaxRequestBytes int
	// Fingerprinter tells requests apart that carry the same key. Default: SHA-256 of the bytes.
	Fingerprinter *idempotency.Fingerprinter
	// FingerprintHeaders are headers that are part of what is asked, beside method, path, query, media type and body:
	// an API version, say. Default: none.
	FingerprintHeaders []string
	// KeepHeaders are request headers that are stored with a recovery point so that the completer can make the request again,
	// beside Content-Type, Accept, Accept-Language and FingerprintHeaders. Credentials are refused: [ResumeConfig] rebuilds what
	// they proved, and one that goes by a name of its own does not belong here either. Content-Encoding does, where the handler
	// itself decodes. Default: none.
	KeepHeaders []string
	// ReplayHeaders are response headers that a replay repeats, beside Content-Type, -Encoding, -Language, -Disposition, -Range,
	// Location, ETag and Link. Set-Cookie, credentials, Date and what belongs to a connection are refused.
	ReplayHeaders []string
	// OnError answers the errors of the contract, into Fiber's response. Default: [WriteProblem].
	OnError func(w http.ResponseWriter, r *http.Request, err *idempotency.Error)
}

// Middleware returns a Fiber middleware, or an error that says what is wrong with config.
func Middleware(engine *idempotency.Engine, config Config) (fiber.Handler, error) {
	if config.Scope == nil {
		return nil, errors.New("idempotencyfiber: Config.Scope is missing: return the authenticated account, or use idempotencyfiber.SharedScope if all callers may share keys")
	}
	rules, err := httpidem.NewRules(engine, httpidem.Options{
		Headers:            config.Headers,
		Optional:           config.Optional,
		MaxKeyBytes:        config.MaxKeyBytes,
		Validate:           config.Validate,
		Methods:            config.Methods,
		MaxRequestBytes:    config.MaxRequestBytes,
		Fingerprinter:      config.Fingerprinter,
		FingerprintHeaders: config.FingerprintHeaders,
		KeepHeaders:        config.KeepHeaders,
		ReplayHeaders:      config.ReplayHeaders,
		OnError:            config.OnError,
	})
	if err != nil {
		return nil, fmt.Errorf("idempotencyfiber: %w", err)
	}
	runsAgain := engine.Reruns() > 0
	return func(c *fiber.Ctx) error {
		if !rules.Protects(c.Method()) || config.Next != nil && config.Next(c) {
			return c.Next()
		}
		call := fasthttpidem.Call{
			Rules: rules, Ctx: c.Context(), Context: c.UserContext(),
			Scope: func() (string, error) { return config.Scope(c) },
			Next:  func(ctx context.Context) error { return run(c, ctx) },
		}
		if config.Key != nil {
			call.Key = func(body []byte) (string, error) { return config.Key(c, body) }
		}
		if runsAgain {
			call.Rewind = fasthttpidem.Position(c)
		}
		return fasthttpidem.Serve(call)
	}, nil
}

// run runs the handlers behind the middleware, and the app's ErrorHandler after them.
func run(c *fiber.Ctx, ctx context.Context) error {
	outer := c.UserContext()
	defer c.SetUserContext(outer)
	c.SetUserContext(ctx)
	err := c.Next()
	if err == nil {
		return nil
	}
	if unanswered := c.App().ErrorHandler(c, err); unanswered != nil {
		return err
	}
	return nil
}

// SharedScope is a Config.Scope for services in which all callers share their keys: one caller can then be answered with
// what another one stored. It is the explicit opt-out of scopes.
func SharedScope(*fiber.Ctx) (string, error) { return idempotency.SharedScope, nil }

// WriteProblem answers with err as application/problem+json (RFC 9457), as the middleware does.
func WriteProblem(c *fiber.Ctx, err error) {
	httpidem.WriteProblem(fasthttpidem.NewWriter(c.Context()), err)
}

// UUIDOnly is a Config.Validate that takes UUIDs in their usual form only, of any version.
func UUIDOnly(key string) error { return httpidem.UUIDOnly(key) }

// MinLength returns a Config.Validate that refuses keys shorter than n bytes: short keys are guessed, and repeat.
func MinLength(n int) func(key string) error { return httpidem.MinLength(n) }
