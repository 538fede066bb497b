package proxy

import (
	"context"
	"net/http"

	"github.com/onlyonce/onlyonce/idempotency"
)

// trip is what the log and the metrics say about a request. It holds nothing that a client has sent.
type trip struct {
	route   string
	outcome string // of its key
	fate    string // of the request to the upstream
	status  int
	held    bool // the key is left to its lease
}

type tripKey struct{}

// tripOf returns the trip of a request; of one that is none of this proxy's, one that nobody reads.
func tripOf(ctx context.Context) *trip {
	if t, ok := ctx.Value(tripKey{}).(*trip); ok {
		return t
	}
	return &trip{}
}

// observe notes what the engine says about a request, the last of which counts.
func observe(ctx context.Context, event idempotency.Event) {
	if t := tripOf(ctx); event.Kind != idempotency.UnknownResolved {
		t.outcome = string(event.Kind)
		switch {
		case event.Kind == idempotency.Released && t.held:
			t.outcome = "held"
		case event.Kind == idempotency.Failed && event.Err != nil:
			t.outcome = string(idempotency.AsError(event.Err).Code)
		}
	}
}

// counting notes the status of an answer. It hides nothing of the writer behind it from http.ResponseController.
type counting struct {
	http.ResponseWriter
	trip *trip
}

func (c *counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *counting) WriteHeader(status int) {
	if c.trip.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		c.trip.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counting) Write(b []byte) (int, error) {
	if c.trip.status == 0 {
		c.trip.status = http.StatusOK
	}
	return c.ResponseWriter.Write(b)
}
