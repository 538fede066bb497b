package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
)

// Status is the body of /healthz and /readyz.
type Status struct {
	Status string `json:"status"`
}

// Healthy is the good answer of both probes.
var Healthy = Status{"ok"}

// WriteJSON encodes body first, so that nothing is sent if it cannot be.
func WriteJSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that has gone cannot be told
	return nil
}

// problemTypes is where each code is described.
const problemTypes = "https://github.com/onlyonce/onlyonce/blob/main/examples/payments/README.md#"

// problem is an RFC 9457 document with the members that the library's own problems have.
type problem struct {
	Type      string                `json:"type"`
	Title     string                `json:"title"`
	Status    int                   `json:"status"`
	Detail    string                `json:"detail"`
	Code      string                `json:"code"`
	Retryable bool                  `json:"retryable"`
	KeyAction idempotency.KeyAction `json:"key_action"`
}

// WriteProblem answers with what went wrong, as far as a client may know it.
func WriteProblem(w http.ResponseWriter, err error) {
	if _, ok := errors.AsType[*idempotency.Error](err); ok {
		nethttp.WriteProblem(w, err)
		return
	}
	failure := failureOf(err)
	document := problem{
		Type:   problemTypes + failure.Code,
		Title:  http.StatusText(failure.Status),
		Status: failure.Status,
		Detail: failure.Detail,
		Code:   failure.Code,
	}
	// A refusal is stored with its key, so a corrected request needs a new one. What is our fault leaves the key as it was, and
	// what never reached the handler did not use it.
	document.Retryable = failure.Status >= http.StatusInternalServerError
	document.KeyAction = idempotency.Rotate
	switch failure.Status {
	case http.StatusUnauthorized, http.StatusInternalServerError, http.StatusServiceUnavailable:
		document.KeyAction = idempotency.Reuse
	}

	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	switch failure.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="payments"`)
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	text, _ := json.Marshal(document) // strings, a number and a bool: it cannot fail
	w.WriteHeader(failure.Status)
	_, _ = w.Write(append(text, '\n'))
}

const retryAfterSeconds = 1
