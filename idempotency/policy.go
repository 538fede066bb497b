package idempotency

import (
	"errors"
	"net/http"
)

// Outcome is what happens to a handler's writes and to its key.
type Outcome int

const (
	// Complete: the writes are committed together with the response, which every retry gets.
	Complete Outcome = iota + 1
	// Refuse: the writes are rolled back; the response is kept, and every retry gets it.
	Refuse
	// Release: the writes are rolled back and the key is free again. A retry runs the handler.
	Release
)

func (o Outcome) String() string {
	switch o {
	case Complete:
		return "complete"
	case Refuse:
		return "refuse"
	case Release:
		return "release"
	}
	return "invalid"
}

// Policy decides what a handler's outcome means. err is what the handler returned; the response counts only where it is
// nil, so that an error must not be completed. A panic, and a response that is too large, is always a Release.
type Policy func(response Response, err error) Outcome

// DefaultPolicy completes 2xx and 3xx (and status 0, which is success outside HTTP), refuses the 4xx that say "no", and
// releases 408, 409, 425, 429, 5xx and errors: what a retry may find changed. A [*Refusal] is refused.
//
// Stripe keeps 500s too; since here everything that a failed handler wrote to the database is rolled back, running it
// again is safe, and better for the client than an error for a day.
func DefaultPolicy(response Response, err error) Outcome {
	if err != nil {
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
			return Refuse
		}
		return Release
	}
	switch response.Status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return Release
	}
	switch {
	case response.Status == 0, response.Status >= 200 && response.Status < 400:
		return Complete
	case response.Status >= 400 && response.Status < 500:
		return Refuse
	}
	return Release
}
