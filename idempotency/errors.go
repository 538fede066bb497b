package idempotency

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Code says what went wrong, in the words of the HTTP contract. It is the member "code" of a problem document.
type Code string

// The codes. [Code.Status], [Code.Retryable] and [Code.KeyAction] say what each means for the client.
const (
	CodeKeyMissing          Code = "key-missing"
	CodeKeyInvalid          Code = "key-invalid"
	CodeScopeMissing        Code = "scope-missing"
	CodeInProgress          Code = "in-progress"
	CodeKeyReused           Code = "key-reused"
	CodeRequestTooLarge     Code = "request-too-large"
	CodeRequestUnreadable   Code = "request-unreadable"
	CodeResponseTooLarge    Code = "response-too-large"
	CodeStoreUnavailable    Code = "store-unavailable"
	CodeOutcomeUnknown      Code = "outcome-unknown"
	CodeTransactionConflict Code = "transaction-conflict"
	CodeTransactionAborted  Code = "transaction-aborted"
	CodeTransactionEnded    Code = "transaction-ended"
	CodeRecordUnreadable    Code = "record-unreadable"
	CodeNested              Code = "nested"
	CodeLeaseLost           Code = "lease-lost"
	CodeStepsChanged        Code = "steps-changed"
	CodeStepMisuse          Code = "step-misuse"
	CodeTooManyPending      Code = "too-many-pending"
	CodeInternal            Code = "internal"
)

// KeyAction tells a client what to do with its idempotency key when it sends the request again.
type KeyAction string

const (
	// Reuse: send the same key. Only it keeps the operation from happening twice.
	Reuse KeyAction = "reuse"
	// Rotate: the key is spent on another request, send a new one.
	Rotate KeyAction = "rotate"
)

type meaning struct {
	status    int
	title     string
	detail    string
	retryable bool
	action    KeyAction
	after     time.Duration
}

var meanings = map[Code]meaning{
	CodeKeyMissing: {http.StatusBadRequest, "Idempotency key missing",
		"This operation needs an idempotency key. Send one that is unique to the operation, and the same on every retry.", false, Rotate, 0},
	CodeKeyInvalid: {http.StatusBadRequest, "Idempotency key invalid",
		"The idempotency key must be one header of 1 to 255 visible ASCII characters, without quote, comma or semicolon; or one quoted structured-field string.", false, Rotate, 0},
	CodeScopeMissing: {http.StatusForbidden, "Caller not identified",
		"The request could not be assigned to an account, and idempotency keys belong to accounts. Authenticate and send it again.", false, Reuse, 0},
	CodeInProgress: {http.StatusConflict, "Request in progress",
		"A request with this idempotency key is being processed. Send it again later, with the same key, to get its response.", true, Reuse, time.Second},
	CodeKeyReused: {http.StatusUnprocessableEntity, "Idempotency key reused",
		"This idempotency key was used for a different request. Send a new key with a new operation.", false, Rotate, 0},
	CodeRequestTooLarge: {http.StatusRequestEntityTooLarge, "Request too large",
		"The request's body is larger than this operation takes. It was not processed.", false, Reuse, 0},
	CodeRequestUnreadable: {http.StatusBadRequest, "Request unreadable",
		"The request's body ended early or could not be read. It was not processed; send it again with the same key.", true, Reuse, 0},
	CodeResponseTooLarge: {http.StatusInternalServerError, "Response too large",
		"The response is larger than can be kept for a retry, so the operation was rolled back.", false, Reuse, 0},
	CodeStoreUnavailable: {http.StatusServiceUnavailable, "Temporarily unavailable",
		"The operation did not take effect. Send it again with the same key.", true, Reuse, time.Second},
	CodeOutcomeUnknown: {http.StatusServiceUnavailable, "Outcome unknown",
		"The operation may or may not have taken effect. Send it again with the same key to learn which; a new key could repeat it.", true, Reuse, time.Second},
	CodeTransactionConflict: {http.StatusServiceUnavailable, "Conflict with another transaction",
		"The operation ran into another one and was rolled back. Send it again with the same key.", true, Reuse, time.Second},
	CodeTransactionAborted: {http.StatusInternalServerError, "Transaction aborted",
		"A statement of the operation failed and it was rolled back. Send it again with the same key.", true, Reuse, 0},
	CodeTransactionEnded: {http.StatusInternalServerError, "Transaction ended early",
		"The operation ended its own transaction, so its response could not be kept. Do not repeat it before it has been looked into.", false, Reuse, 0},
	CodeRecordUnreadable: {http.StatusInternalServerError, "Stored response unreadable",
		"The response kept for this idempotency key cannot be read. The operation was not repeated.", false, Reuse, 0},
	CodeNested: {http.StatusInternalServerError, "Nested idempotency",
		"A protected operation was started inside another one. Nothing of the inner one was run.", false, Reuse, 0},
	CodeLeaseLost: {http.StatusConflict, "Request taken over",
		"Another attempt at this request has taken over. Send it again later, with the same key, to get its response.", true, Reuse, time.Second},
	CodeStepsChanged: {http.StatusServiceUnavailable, "Temporarily unavailable",
		"The operation was begun by another version of this service, and this one cannot finish it. Nothing of it is lost; send it again later with the same key.", true, Reuse, 10 * time.Second},
	CodeStepMisuse: {http.StatusInternalServerError, "Internal error",
		"The operation could not be carried on. What it has done so far is kept and not repeated under this key.", false, Reuse, 0},
	CodeTooManyPending: {http.StatusTooManyRequests, "Too many unfinished operations",
		"The account has too many unfinished operations. This one did not take effect; send it again later with the same key.", true, Reuse, time.Second},
	CodeInternal: {http.StatusInternalServerError, "Internal error",
		"The operation failed and was rolled back.", false, Reuse, 0},
}

// Codes returns every code, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(meanings)) }

// Status returns the HTTP status that the code is answered with.
func (c Code) Status() int { return c.meaning().status }

// Title returns the short, constant description of the code.
func (c Code) Title() string { return c.meaning().title }

// Retryable reports whether sending the same request again can succeed.
func (c Code) Retryable() bool { return c.meaning().retryable }

// KeyAction returns what a client should do with its key before it sends the request again.
func (c Code) KeyAction() KeyAction { return c.meaning().action }

func (c Code) meaning() meaning {
	if m, ok := meanings[c]; ok {
		return m
	}
	return meanings[CodeInternal]
}

// Error is the one error type of this library. errors.Is matches it to a sentinel by its code.
type Error struct {
	Code Code
	// Detail is written for the client: it holds no key, no body and no database text. Empty means the code's own.
	Detail string
	// RetryAfter is how long a client should wait before it retries; 0 where that makes no sense.
	RetryAfter time.Duration
	// Err is the cause, for the operator: it is in Error and Unwrap, and never in what a client gets.
	Err error
}

// The sentinels, to be used with errors.Is.
var (
	ErrKeyMissing          = sentinel(CodeKeyMissing)
	ErrKeyInvalid          = sentinel(CodeKeyInvalid)
	ErrScopeMissing        = sentinel(CodeScopeMissing)
	ErrInProgress          = sentinel(CodeInProgress)
	ErrKeyReused           = sentinel(CodeKeyReused)
	ErrRequestTooLarge     = sentinel(CodeRequestTooLarge)
	ErrRequestUnreadable   = sentinel(CodeRequestUnreadable)
	ErrResponseTooLarge    = sentinel(CodeResponseTooLarge)
	ErrStoreUnavailable    = sentinel(CodeStoreUnavailable)
	ErrOutcomeUnknown      = sentinel(CodeOutcomeUnknown)
	ErrTransactionConflict = sentinel(CodeTransactionConflict)
	ErrTransactionAborted  = sentinel(CodeTransactionAborted)
	ErrTransactionEnded    = sentinel(CodeTransactionEnded)
	ErrRecordUnreadable    = sentinel(CodeRecordUnreadable)
	ErrNested              = sentinel(CodeNested)
	ErrLeaseLost           = sentinel(CodeLeaseLost)
	ErrStepsChanged        = sentinel(CodeStepsChanged)
	ErrStepMisuse          = sentinel(CodeStepMisuse)
	ErrTooManyPending      = sentinel(CodeTooManyPending)
	ErrInternal            = sentinel(CodeInternal)
)

func sentinel(c Code) *Error {
	m := c.meaning()
	return &Error{Code: c, Detail: m.detail, RetryAfter: m.after}
}

// Because returns e with err as its cause.
func (e *Error) Because(err error) *Error {
	with := *e
	with.Err = err
	return &with
}

func (e *Error) withDetail(detail string) *Error {
	with := *e
	with.Detail = detail
	return &with
}

func (e *Error) Error() string {
	text := "idempotency: " + string(e.Code) + ": " + e.Detail
	if e.Detail == "" {
		text = "idempotency: " + string(e.Code) + ": " + e.Code.meaning().detail
	}
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// AsError returns err as an *Error that has a detail. An error of another type becomes [ErrInternal] with err as its cause.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		if e.Detail == "" {
			return e.withDetail(e.Code.meaning().detail)
		}
		return e
	}
	return ErrInternal.Because(err)
}
