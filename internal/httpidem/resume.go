package httpidem

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Authenticate gives a request that the completer makes the identity that it had: see the adapters' ResumeConfig.
type Authenticate func(r *http.Request, scope string) (*http.Request, error)

// Resume returns what has the completer make a pending key's request again, at handler.
func Resume(handler http.Handler, authenticate Authenticate) idempotency.Resume {
	if handler == nil {
		panic("idempotency: Resume needs a handler: the one that serves the clients, with its router and middleware")
	}
	return func(ctx context.Context, pending idempotency.Pending) error {
		answered := &answer{header: http.Header{}}
		r, err := requestOf(context.WithValue(ctx, answerKey{}, answered), pending.Request)
		if err != nil {
			return err
		}
		if authenticate != nil {
			if r, err = authenticate(r, pending.Key.Scope); err != nil {
				return fmt.Errorf("idempotency: ResumeConfig.Authenticate: %w", err)
			}
		}
		// A route whose key is optional would take a request that nothing ties to its key for one without, and run it anew.
		if r == nil || !resumes(r.Context(), pending.Key) {
			return errors.New("idempotency: the request has lost the completer's context: ResumeConfig.Authenticate must return the " +
				"request that it was given, or one made of it by WithContext or Clone with a context derived from its own")
		}
		handler.ServeHTTP(answered, r)
		switch {
		case answered.problem != nil:
			return fmt.Errorf("the handler answered %d: %w", answered.status, answered.problem)
		case answered.status >= 400:
			return fmt.Errorf("the handler answered %d", answered.status)
		}
		return nil
	}
}

func resumes(ctx context.Context, key idempotency.Key) bool {
	pending, ok := idempotency.Resuming(ctx)
	return ok && pending.Key == key
}

// requestOf returns the request that stored describes, as a server would have it.
func requestOf(ctx context.Context, stored []byte) (*http.Request, error) {
	if len(stored) == 0 {
		return nil, errors.New("idempotency: no request is stored with this key: it was not begun by a protected HTTP handler")
	}
	d, err := parseDescription(stored)
	if err != nil {
		return nil, err
	}
	target := &url.URL{Path: d.target}
	if d.target != "*" {
		if target, err = url.ParseRequestURI(d.target); err != nil {
			return nil, errDescription // the cause has the URI in it
		}
	}
	r := &http.Request{
		Method: d.method, URL: target, RequestURI: d.target, Host: d.host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: d.header, Body: http.NoBody,
	}
	if len(d.body) > 0 {
		body := new(buffered)
		body.Reset(d.body)
		r.Body, r.ContentLength = body, int64(len(d.body))
	}
	return r.WithContext(ctx), nil
}

// answer is the http.ResponseWriter of a request that no client waits for. It keeps the status, and why it is what it is.
type answer struct {
	header  http.Header
	status  int
	problem *idempotency.Error
}

type answerKey struct{}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return len(b), nil
}

// Flush, and the deadlines, do nothing: to a handler that asks for them nothing is different from when it served a client.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

func (*answer) SetReadDeadline(time.Time) error  { return nil }
func (*answer) SetWriteDeadline(time.Time) error { return nil }

// refused tells the completer, if the request is its, by which error it is answered: that another attempt is at work is no
// failure of this one.
func refused(ctx context.Context, problem *idempotency.Error) {
	if a, ok := ctx.Value(answerKey{}).(*answer); ok {
		a.problem = problem
	}
}
