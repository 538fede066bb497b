package idempotencygin

import (
	"errors"
	"maps"
	"net/http"
	"reflect"

	"github.com/gin-gonic/gin"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

var (
	// errEscaped is why nothing is kept of a run whose answer is with the client already, by another way.
	errEscaped = errors.New("idempotencygin: a response was sent past the protection, and what the handler did is rolled back: " +
		"gin.Engine.HandleContext gives the request a writer of its own; rewrite paths outside of the middleware")
	errAborted = errors.New("idempotencygin: the handlers aborted with an error after they had begun a response")
	// errUnanswered leaves the answer to gin, which has one for a request without a route.
	errUnanswered = errors.New("idempotencygin: no handler answered")
)

// chain runs the handlers behind the middleware: those that are left of a request's chain.
type chain struct {
	c *gin.Context
	// start is c as the middleware found it: at its place in the chain, which gin lets nobody go back to. A second run, on another
	// transaction, begins with a copy of it.
	start *gin.Context
	over  bool // a run has ended, and the chain with it
}

// run lets the handlers write to recorder. It returns an error where they failed without an answer.
func (h *chain) run(recorder *httpidem.Recorder, r *http.Request) error {
	c := h.c
	if h.start == nil {
		h.start = copied(c)
	} else {
		c = copied(h.start)
	}
	outer, outerRequest, attached := c.Writer, c.Request, len(c.Errors)
	sent := outer.Written()
	w := newWriter(recorder, outer.Status())
	c.Request, c.Writer = r, w
	defer func() {
		c.Request, c.Writer = outerRequest, outer
		if c != h.c {
			h.c.Keys, h.c.Errors, h.c.Accepted = c.Keys, c.Errors, c.Accepted
			if c.IsAborted() {
				h.c.Abort()
			}
		}
	}()
	h.over = false
	c.Next()
	h.over = true

	var cause error = errAborted
	if len(c.Errors) > attached {
		cause = c.Errors.Last().Err
	}
	switch {
	case !sent && outer.Written():
		return errEscaped
	case c.IsAborted() && w.late != 0: // as gin.Recovery does, after a panic in the middle of an answer
		return failed(cause, w.late)
	case len(c.Errors) > attached && w.status < http.StatusBadRequest && (c.IsAborted() || !w.Written()):
		return failed(cause, http.StatusInternalServerError)
	case !w.Written() && w.status == outer.Status() && w.status >= http.StatusBadRequest:
		return errUnanswered
	}
	w.WriteHeaderNow()
	return nil
}

// failed returns cause as an error that nothing is kept of: there is no response to keep. One of idempotency's own is answered by
// its problem.
func failed(cause error, status int) error {
	if own := (*idempotency.Error)(nil); errors.As(cause, &own) {
		return own
	}
	return failure{cause, status}
}

// failure hides what an idempotency.Policy would keep, such as an idempotency.Refusal.
type failure struct {
	error
	status int // to be answered with, unless somebody outside knows better
}

// copied returns a copy of c that goes on where c is. gin's own Copy goes nowhere: it is for goroutines. Nobody else has c now, so
// that the lock in it is free, and free in the copy.
func copied(c *gin.Context) *gin.Context {
	again := new(gin.Context)
	reflect.ValueOf(again).Elem().Set(reflect.ValueOf(c).Elem())
	again.Keys = maps.Clone(c.Keys)
	return again
}
