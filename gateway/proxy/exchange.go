package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/gateway/leased"
	"github.com/onlyonce/onlyonce/idempotency"
)

// exchange sends requests to an upstream, one at a time each, and knows what has become of them. It is the handler behind the middleware: what it
// answers with is recorded.
type exchange struct {
	*route
	proxy *httputil.ReverseProxy
}

func newExchange(r *route, forwarded bool, transport http.RoundTripper) *exchange {
	e := &exchange{route: r}
	e.proxy = &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			r.rewrite(pr, forwarded)
			e.once(pr.Out)
		},
		Transport:      transport,
		ModifyResponse: e.answered,
		ErrorHandler:   e.failed,
		ErrorLog:       silent,
	}
	return e
}

var silent = log.New(io.Discard, "", 0) // what fails is in the answer, the log of requests and the metrics

// sending is one request on its way.
type sending struct {
	body []byte
	// connected says that there was a connection to send it by: from then on the upstream may have read it.
	connected atomic.Bool
}

type sendingKey struct{}

func sendingOf(ctx context.Context) *sending { return ctx.Value(sendingKey{}).(*sending) }

func (e *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, s := r.Context(), &sending{}
	timeout := e.timeout
	if leased.Attempt(ctx) > 0 {
		// A process that was stopped for a while must not send what another one may be sending by now.
		timeout = min(timeout, leased.Left(ctx)-leastMargin/2)
	}
	if r.Body != nil {
		s.body, _ = io.ReadAll(r.Body) // out of memory
	}
	if timeout <= 0 {
		e.fate(ctx, "late")
		unreachable("proxy_internal_error").write(w)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx = httptrace.WithClientTrace(context.WithValue(ctx, sendingKey{}, s), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { s.connected.Store(true) },
	})
	leased.Hold(ctx) // also should anything here panic
	e.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// spell writes the names of key headers in lower case, which is the same header to an upstream, and another one to http.Transport: it sends a request
// with an Idempotency-Key a second time by itself where a connection that was used before breaks, although the upstream may have read it.
func spell(header http.Header) {
	for name, other := range map[string]string{"Idempotency-Key": "idempotency-key", "X-Idempotency-Key": "x-idempotency-key"} {
		if values, found := header[name]; found {
			delete(header, name)
			header[other] = values
		}
	}
}

// once keeps http.Transport from sending a request a second time by itself. A connection on which nothing was written is still replaced: for that a
// body can be had again. By HTTP/2 it cannot, since there a stream that the upstream has reset would be repeated as well.
func (e *exchange) once(out *http.Request) {
	spell(out.Header)
	body := sendingOf(out.Context()).body
	switch {
	case e.http2:
		out.Body, out.GetBody = io.NopCloser(bytes.NewReader(body)), nil
	case len(body) > 0:
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
	}
	out.ContentLength = int64(len(body))
	out.TransferEncoding, out.Trailer = nil, nil
	out.Header.Del("Expect") // the body is here
	if e.attemptHeader != "" {
		out.Header.Del(e.attemptHeader)
		if attempt := leased.Attempt(out.Context()); attempt > 0 {
			out.Header.Set(e.attemptHeader, itoa(attempt))
		}
	}
}

var (
	errStatus   = errors.New("the upstream answered with what is no final status")
	errTooLarge = errors.New("the upstream's answer is too large")
)

// answered takes an answer in as a whole. Until that is done the outcome is unknown: an answer that says yes and ends in its middle cannot be
// given to a retry.
func (e *exchange) answered(res *http.Response) error {
	if res.StatusCode < 200 || res.StatusCode > 599 {
		return errStatus
	}
	body, err := e.read(res)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body)) // the recorder leaves out trailers, and counts
	res.Header.Del(statusHeader)
	ctx := res.Request.Context()
	e.settle(ctx, res.StatusCode)
	e.fate(ctx, "answered")
	return nil
}

// settle is for an upstream's status: it says what became of the request, or that nobody knows.
func (e *exchange) settle(ctx context.Context, status int) {
	if e.holds(status) {
		tripOf(ctx).held = true
	} else {
		leased.Unhold(ctx)
	}
}

// holds reports whether a status leaves the outcome unknown, and the key to its lease.
func (e *exchange) holds(status int) bool {
	unknown, _ := in(status, e.unknownStatuses)
	return unknown && e.unknown == Hold && e.outcome(status) == idempotency.Release
}

func (e *exchange) read(res *http.Response) ([]byte, error) {
	if res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified {
		return nil, nil // HTTP has no body with these, and an upstream that sends one all the same has said what it did
	}
	limit := int64(e.maxResponse)
	if res.ContentLength > limit {
		return nil, &overLimit{res.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		return nil, &overLimit{res.StatusCode}
	}
	return body, err
}

// overLimit is an answer that is too large, with its status.
type overLimit struct{ status int }

func (*overLimit) Error() string { return errTooLarge.Error() }

// failed answers where the upstream did not, or not as a whole. w is the recorder.
func (e *exchange) failed(w http.ResponseWriter, out *http.Request, err error) {
	ctx := out.Context()
	if over := (*overLimit)(nil); errors.As(err, &over) {
		e.settle(ctx, over.status)
		e.fate(ctx, "too_large")
		p := tooLarge(e.outcome(over.status) != idempotency.Release)
		if leased.Attempt(ctx) > 0 && e.holds(over.status) {
			p.Detail, p.after = againLater, max(leased.Left(ctx), time.Second)
		}
		p.write(w)
		return
	}
	if !sendingOf(ctx).connected.Load() {
		leased.Unhold(ctx)
		e.fate(ctx, "unreachable")
		unreachable(dialCause(err)).write(w)
		return
	}
	detail, after := againLater, max(leased.Left(ctx), time.Second)
	switch {
	case leased.Attempt(ctx) == 0:
		detail, after = againNoKey, 0
	case e.unknown == Release:
		leased.Unhold(ctx)
		detail, after = againAtOnce, time.Second
	default:
		tripOf(ctx).held = true
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		e.fate(ctx, "timeout")
		timedOut(detail, after).write(w)
		return
	}
	e.fate(ctx, "cut")
	cutOff(detail, after).write(w)
}

// fate notes what has become of a request, for the log and the metrics.
func (e *exchange) fate(ctx context.Context, what string) { tripOf(ctx).fate = what }
