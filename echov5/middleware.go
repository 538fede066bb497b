// Package idempotencyecho protects Echo v5 handlers: a request with an idempotency key takes effect once, and every retry of
// it gets the same bytes.
//
// Mount it after authentication, since the scope of a key is the caller's identity, after rate limiting, and inside of what
// recovers from panics, compresses or logs. What is outside must leave the request's body unread, or put it back: the body is
// part of what tells requests with the same key apart.
//
// A handler's transaction is pgstore.Tx(c.Request().Context()). An error that it returns goes through Echo's error handler, and
// the response that this writes decides: echo.NewHTTPError(402) is a refusal, which is kept, and a plain error is a 500, which is not.
//
// A handler that names recovery points (idempotency.Atomic, idempotency.Foreign) is finished without its client by an
// idempotency.Completer, for which [Resume] makes the request again.
package idempotencyecho

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// Config configures [Middleware]. Scope is mandatory; the rest has defaults.
type Config struct {
	// Scope returns the tenant that the request's key belongs to, from the authenticated identity. An error, or "", is
	// answered by 403 scope-missing. Where all callers share their keys, use [SharedScope].
	Scope func(c *echo.Context) (string, error)
	// Headers are the names of the header that carries the key; a request may have one of them. Default: Idempotency-Key.
	Headers []string
	// Key finds the key elsewhere than in a header, for instance in the body, which is passed along: the request's Body
	// must not be read. "" means that there is none. Headers is not used then. Default: nil.
	Key func(c *echo.Context, body []byte) (string, error)
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
	// MaxRequestBytes is the largest body, which is read whole before the handler runs. A larger one is answered by
	// 413 request-too-large, and nothing is done. Default: 1 MiB.
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
	// OnError answers the errors of the contract. Default: [WriteProblem].
	OnError func(w http.ResponseWriter, r *http.Request, err *idempotency.Error)
}

// Middleware returns an Echo middleware, or an error that says what is wrong with config.
func Middleware(engine *idempotency.Engine, config Config) (echo.MiddlewareFunc, error) {
	if config.Scope == nil {
		return nil, errors.New("idempotencyecho: Config.Scope is missing: return the authenticated account, or use idempotencyecho.SharedScope if all callers may share keys")
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
		return nil, fmt.Errorf("idempotencyecho: %w", err)
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			if !rules.Protects(c.Request().Method) {
				return next(c)
			}
			call := httpidem.Call{Writer: c.Response(), Request: c.Request()}
			if call.Pending, _ = idempotency.Resuming(c.Request().Context()); call.Pending == nil {
				call.Scope, call.ScopeErr = config.Scope(c)
			}
			if config.Key != nil {
				call.Key = func(body []byte) (string, error) { return config.Key(c, body) }
			}
			call.Next = func(recorder *httpidem.Recorder, r *http.Request) error { return run(c, next, recorder, r) }
			return rules.Serve(call)
		}
	}, nil
}

// run lets the handler, and Echo's error handler after it, write to the recorder: by an echo.Response of their own, so that
// what the outer middleware knows of the response, and hooked to it, is about what is really sent.
func run(c *echo.Context, next echo.HandlerFunc, recorder *httpidem.Recorder, r *http.Request) error {
	outerRequest, outerResponse := c.Request(), c.Response()
	defer func() {
		c.SetRequest(outerRequest)
		c.SetResponse(outerResponse)
	}()
	c.SetRequest(r)
	response := echo.NewResponse(recorder, c.Logger())
	c.SetResponse(response)
	err := next(c)
	if err == nil {
		return nil
	}
	if response.Committed { // it answered and then failed: the failure is the answer
		recorder.Reset()
		response = echo.NewResponse(recorder, c.Logger())
	}
	c.SetResponse(response) // without what middleware may have left around it
	c.Echo().HTTPErrorHandler(c, err)
	if !response.Committed {
		return err
	}
	return nil
}

// SharedScope is a Config.Scope for services in which all callers share their keys: one caller can then be answered with
// what another one stored. It is the explicit opt-out of scopes.
func SharedScope(*echo.Context) (string, error) { return idempotency.SharedScope, nil }

// WriteProblem answers with err as application/problem+json (RFC 9457), as the middleware does.
func WriteProblem(w http.ResponseWriter, err error) { httpidem.WriteProblem(w, err) }

// UUIDOnly is a Config.Validate that takes UUIDs in their usual form only, of any version.
func UUIDOnly(key string) error { return httpidem.UUIDOnly(key) }

// MinLength returns a Config.Validate that refuses keys shorter than n bytes: short keys are guessed, and repeat.
func MinLength(n int) func(key string) error { return httpidem.MinLength(n) }
