package idempotency

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Do runs fn once for request's key and returns its result; every later call with that key returns the same result without
// running fn. It is for work that does not come by HTTP: queue consumers, jobs, webhooks. Results are kept as JSON: what
// encoding/json does not carry over is not in a replayed result.
//
// An error of fn rolls its writes back, frees the key and is returned as it is. A [*Refusal] is kept, and returned to every
// later call. Other errors are *Error: [ErrInProgress] asks to deliver the message again later.
func Do[T any](ctx context.Context, engine *Engine, request Request, fn func(ctx context.Context) (T, error)) (T, error) {
	var fresh T
	result, err := engine.Run(ctx, request, func(ctx context.Context) (Response, error) {
		var err error
		if fresh, err = fn(ctx); err != nil {
			if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
				body, _ := json.Marshal(refusal) // a struct of one string cannot fail
				return Response{Status: http.StatusUnprocessableEntity, Body: body}, err
			}
			return Response{}, err
		}
		body, err := json.Marshal(fresh)
		if err != nil {
			return Response{}, fmt.Errorf("idempotency: the result of type %T cannot be kept as JSON: %w", fresh, err)
		}
		return Response{Body: body}, nil
	})
	var none T
	if err != nil {
		return none, err
	}
	if !result.Replayed {
		return fresh, nil
	}
	if status := result.Response.Status; status != 0 {
		if status != http.StatusUnprocessableEntity {
			return none, ErrRecordUnreadable.Because(fmt.Errorf("idempotency: the stored status is %d, which Do does not store", status))
		}
		refusal := &Refusal{}
		if err := json.Unmarshal(result.Response.Body, refusal); err != nil {
			return none, ErrRecordUnreadable.Because(err)
		}
		return none, refusal
	}
	var stored T
	if err := json.Unmarshal(result.Response.Body, &stored); err != nil {
		return none, ErrRecordUnreadable.Because(fmt.Errorf("the stored result does not fit %T: %w", stored, err))
	}
	return stored, nil
}

// Refusal is an error that is an answer: "no", for good. [Do] rolls the writes back and keeps it, so that every later call
// with the key is refused the same way. One over Config.MaxResponseBytes is not kept: the call gets [ErrResponseTooLarge].
type Refusal struct {
	Reason string `json:"reason"`
}

func (r *Refusal) Error() string { return "refused: " + r.Reason }
