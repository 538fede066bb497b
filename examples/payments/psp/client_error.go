package psp

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Declined is the provider's final "no" to a charge: nothing was taken, and the same key gets the same answer.
type Declined struct {
	Code   string
	Detail string
}

func (e *Declined) Error() string {
	return fmt.Sprintf("the charge was declined: %s: %s", e.Code, e.Detail)
}

// Rejected says that the provider did not accept the request and took nothing for it. The same request would be rejected
// again. It says nothing about what an earlier request with the same key did: Find tells.
type Rejected struct {
	Status int
	Code   string
	Detail string
}

func (e *Rejected) Error() string {
	return fmt.Sprintf("the provider rejected the request: %d %s: %s", e.Status, e.Code, e.Detail)
}

// Unknown says that there is no answer to rely on: no reply, a reply too late or broken, a 5xx, or a 409 because the key is in
// progress. The charge may or may not have been made, or may be made yet. Do not report a failure and do not charge with a new
// key: send the same request with the same key until the answer is another one.
type Unknown struct {
	Err error
}

func (e *Unknown) Error() string {
	return "it is not known whether the charge was made, send it again with the same key: " + e.Err.Error()
}

// Unwrap returns the cause, such as context.DeadlineExceeded.
func (e *Unknown) Unwrap() error { return e.Err }

// failureOf sorts an answer of 400 or more by what it says about the charge.
func failureOf(status int, answer []byte) error {
	var said problem
	_ = json.Unmarshal(answer, &said) // a proxy on the way may answer anything
	switch status {
	case http.StatusPaymentRequired:
		if said.Code != "" {
			return &Declined{said.Code, said.Detail}
		}
		return &Unknown{fmt.Errorf("the provider answered %d without a code", status)}
	// All of them mean "not now", and an earlier request may be at work.
	case http.StatusConflict, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		if status < http.StatusInternalServerError {
			return &Rejected{status, said.Code, said.Detail}
		}
	}
	return &Unknown{fmt.Errorf("the provider answered %d %s", status, said.Code)}
}
