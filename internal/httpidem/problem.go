package httpidem

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// TypeBase is what a problem's "type" begins with; the code follows.
const TypeBase = "https://github.com/onlyonce/onlyonce/blob/main/docs/problems.md#"

// Problem is a problem document of RFC 9457, with the members that tell a client what to do.
type Problem struct {
	Type      string                `json:"type"`
	Title     string                `json:"title"`
	Status    int                   `json:"status"`
	Detail    string                `json:"detail"`
	Code      idempotency.Code      `json:"code"`
	Retryable bool                  `json:"retryable"`
	KeyAction idempotency.KeyAction `json:"key_action"`
}

// WriteProblem answers with err as application/problem+json, and with Retry-After where waiting helps. The cause in err stays
// out of it. An error that is no *idempotency.Error is answered as internal.
func WriteProblem(w http.ResponseWriter, err error) {
	e := idempotency.AsError(err)
	ProblemOf(e).Write(w, e.RetryAfter)
}

// ProblemOf returns the problem document of e.
func ProblemOf(e *idempotency.Error) Problem {
	return Problem{
		Type:      TypeBase + string(e.Code),
		Title:     e.Code.Title(),
		Status:    e.Code.Status(),
		Detail:    e.Detail,
		Code:      e.Code,
		Retryable: e.Code.Retryable(),
		KeyAction: e.Code.KeyAction(),
	}
}

// Write answers with p, and with Retry-After, in whole seconds, where retryAfter is not 0.
func (p Problem) Write(w http.ResponseWriter, retryAfter time.Duration) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Del("Content-Length")
	if retryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((retryAfter-1)/time.Second)+1, 10))
	}
	body, _ := json.Marshal(p) // strings, a bool and an int cannot fail
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}
