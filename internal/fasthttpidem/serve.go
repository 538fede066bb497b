package fasthttpidem

import (
	"context"
	"io"
	"net/http"

	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// Call is one request at a protected route, as a framework's adapter has it.
type Call struct {
	Rules *httpidem.Rules
	Ctx   *fasthttp.RequestCtx
	// Context is what the framework has for the request.
	Context context.Context
	// Scope returns the request's tenant. What it returns may be fasthttp's memory.
	Scope func() (string, error)
	// Key returns the key where it does not come by a header; nil otherwise. What it returns may be fasthttp's memory.
	Key func(body []byte) (string, error)
	// Next runs the handler with its context, and answers its error. One that it returns was not answered.
	Next func(ctx context.Context) error
	// Rewind brings the framework's context to where it was, for the handler to run again. It may be nil where no handler is.
	Rewind func()
}

// exchange is a call on its way.
type exchange struct {
	Call
	before *before
}

// Serve answers a call: with the stored response, by running the handler, or with a problem. An error that it returns is the
// handler's own, for the framework to answer; the response is what it was before.
func Serve(call Call) error {
	x := &exchange{Call: call}
	fctx := call.Ctx
	r := NewRequest(fctx, call.Context)
	defer leave(fctx, r.Body) // also where somebody panics, whom middleware outside answers for
	in := httpidem.Call{Writer: NewWriter(fctx), Request: r, Next: x.run}
	if in.Pending, _ = idempotency.Resuming(r.Context()); in.Pending == nil {
		in.Scope, in.ScopeErr = cloned(call.Scope())
	}
	if call.Key != nil {
		in.Key = func(body []byte) (string, error) { return cloned(call.Key(body)) }
	}
	return call.Rules.Serve(in)
}

// run lets the handler write to fasthttp's response, and takes away what it has written, whatever becomes of it: it is put back
// when it is committed.
func (x *exchange) run(recorder *httpidem.Recorder, r *http.Request) error {
	if x.before == nil {
		x.before = newBefore(x.Ctx, x.Rewind != nil)
		if x.Ctx.Request.IsBodyStream() {
			giveBody(x.Ctx, r)
		}
	} else {
		x.before.restoreValues()
		x.Rewind()
		giveBody(x.Ctx, r)
	}
	defer x.before.restoreResponse()
	if err := x.Next(r.Context()); err != nil {
		return err
	}
	response := &x.Ctx.Response
	if timeout := x.Ctx.LastTimeoutErrorResponse(); timeout != nil { // fasthttp sends that, whatever is in the response
		response = timeout
	}
	return record(recorder, x.Ctx, response)
}

// giveBody puts the body that was read into the request, for the handler.
func giveBody(fctx *fasthttp.RequestCtx, r *http.Request) {
	if !fctx.Request.IsBodyStream() && len(fctx.Request.Header.MultipartFormBoundary()) > 0 {
		return // fasthttp has the parts
	}
	var body taken
	_, _ = io.Copy(&body, r.Body) // it is in memory
	fctx.Request.SetBodyRaw(body)
}

// taken is what was written to it. What comes in one piece is not copied.
type taken []byte

func (t *taken) Write(b []byte) (int, error) {
	*t = append(*t, b...)
	return len(b), nil
}
