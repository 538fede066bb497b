package service

import (
	"errors"
	"net/http"
	"time"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// TypeBase is what the "type" of the service's own problems begins with; the code follows.
const TypeBase = "https://github.com/onlyonce/onlyonce/blob/main/gateway/README.md#"

// problem is an answer that is an error. Its document holds nothing that the request held.
type problem struct {
	httpidem.Problem
	after time.Duration
	cause error // for the operator
}

func (p *problem) Error() string { return string(p.Code) + ": " + p.Detail }
func (p *problem) Unwrap() error { return p.cause }

func newProblem(code string, status int, title, detail string, retryable bool, action idempotency.KeyAction) *problem {
	return &problem{Problem: httpidem.Problem{
		Type: TypeBase + code, Title: title, Status: status, Detail: detail, Code: idempotency.Code(code), Retryable: retryable, KeyAction: action,
	}}
}

var (
	errConcurrent = newProblem(api.ConcurrentProcess, http.StatusConflict, "Request in progress",
		"Another request with this idempotency key is being processed. Ask again later, with the same key.", true, idempotency.Reuse)
	errCompleted = newProblem(api.AlreadyCompleted, http.StatusConflict, "Request completed",
		"The request of this idempotency key is completed. Read its response by GET /response/{idempotency_key}, and do not process it again.", false, idempotency.Reuse)
	errLockLost = newProblem(api.LockLost, http.StatusConflict, "Lock lost",
		"The key is not lent on this lock value: another request has taken it over, another response was stored, or the lock was released. Nothing was changed. "+
			"Ask for the key once more to learn what stands.", false, idempotency.Reuse)
	errConflict = newProblem(api.FingerprintConflict, http.StatusUnprocessableEntity, "Idempotency key reused",
		"This idempotency key was used for a request with another fingerprint. Send a new key with a new operation.", false, idempotency.Rotate)
	errNotFound = newProblem(api.KeyNotFound, http.StatusNotFound, "No response stored",
		"No response is stored for this idempotency key: it is new, is being processed, or its retention is over.", false, idempotency.Reuse)
	errScopeMissing = newProblem(api.ScopeMissing, http.StatusBadRequest, "Scope missing",
		"Send the tenant whose key it is in one header "+api.Scope+": 1 to 255 bytes of UTF-8 without control characters.", false, idempotency.Reuse)
	errScopeForbidden = newProblem(api.ScopeForbidden, http.StatusForbidden, "Scope not allowed",
		"The credential may not use this scope.", false, idempotency.Reuse)
	errUnauthorized = newProblem(api.Unauthorized, http.StatusUnauthorized, "Caller not known",
		"Send a bearer token that the service knows, or a client certificate.", false, idempotency.Reuse)
	errRoute = newProblem(api.RouteUnknown, http.StatusNotFound, "No such endpoint",
		"The service has no such endpoint. GET "+api.OpenAPI+" describes those that there are.", false, idempotency.Reuse)
	errMethod = newProblem(api.MethodNotAllowed, http.StatusMethodNotAllowed, "Method not allowed",
		"The endpoint does not take this method. The header Allow names the one that it takes.", false, idempotency.Reuse)
)

// invalid is a request that cannot be understood. detail must not repeat any of it.
func invalid(detail string) *problem {
	return newProblem(api.RequestInvalid, http.StatusBadRequest, "Request not understood", detail, false, idempotency.Reuse)
}

// own are the service's words for what the library says.
var own = map[idempotency.Code]*problem{
	idempotency.CodeInProgress:   errConcurrent,
	idempotency.CodeKeyReused:    errConflict,
	idempotency.CodeLeaseLost:    errLockLost,
	idempotency.CodeScopeMissing: errScopeMissing,
}

// problemOf returns how err is answered.
func problemOf(err error) *problem {
	if p := (*problem)(nil); errors.As(err, &p) {
		return p
	}
	e := idempotency.AsError(err)
	if p := own[e.Code]; p != nil {
		with := *p
		with.cause = err
		if p == errConcurrent {
			with.after = e.RetryAfter
		}
		return &with
	}
	return &problem{Problem: httpidem.ProblemOf(e), after: e.RetryAfter, cause: err}
}
