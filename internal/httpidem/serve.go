package httpidem

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Call is one request at a protected route, as an adapter has it.
type Call struct {
	Writer  http.ResponseWriter
	Request *http.Request
	// Pending is set if the completer makes the request: then it says key and scope, and Scope and Key are not looked at.
	Pending *idempotency.Pending
	// Scope, or why there is none.
	Scope    string
	ScopeErr error
	// Key returns the key where it does not come by a header; nil otherwise.
	Key func(body []byte) (string, error)
	// Next runs the handler. An error that it returns was not written to the recorder.
	Next func(recorder *Recorder, request *http.Request) error
}

// Serve answers a call: with the stored response, by running the handler, or with a problem. Not a byte goes to the client
// before the outcome is settled. An error that it returns is the handler's own, for the adapter's framework to answer.
func (r *Rules) Serve(call Call) error {
	x := exchanges.Get().(*exchange)
	x.rules, x.call = r, call
	err := x.serve()
	*x = exchange{handle: x.handle, matches: x.matches, description: x.description, buffer: x.buffer} // not after a panic: then it is not used again
	exchanges.Put(x)
	return err
}

// exchange is a call on its way. It is used again for another call, and so are the functions bound to it, which the engine
// forgets when Run returns. What the handler, or anybody else of the user's, gets to see is not: they may keep it.
type exchange struct {
	rules    *Rules
	call     Call
	in       idempotency.Request
	body     []byte
	lent     bool   // body is buffer's, which other requests' bodies go into as well
	buffer   []byte // see readBody
	parts    [5]string
	more     []string // with FingerprintHeaders
	recorder *Recorder

	handle  idempotency.Handler
	matches func(idempotency.Fingerprint) bool
	// description is called, if at all, while the handler runs.
	description func() ([]byte, error)
}

var exchanges = sync.Pool{New: func() any {
	x := &exchange{}
	x.handle, x.matches, x.description = x.run, x.sameRequest, x.describe
	return x
}}

func (x *exchange) serve() error {
	keyed, err := x.read()
	if err != nil {
		x.problem(err)
		return nil
	}
	sent := false
	defer func() {
		if !sent && x.recorder != nil {
			x.recorder.Reset() // a panic: what the handler set must not be in the answer to it
		}
	}()
	var result idempotency.Result
	if keyed {
		result, err = x.rules.engine.Run(x.call.Request.Context(), x.in, x.handle)
	} else {
		result, err = x.rules.engine.RunWithoutKey(x.call.Request.Context(), x.handle)
	}
	sent = true
	if err == nil && !result.Replayed {
		x.recorder.Send()
		return nil
	}
	if x.recorder != nil {
		x.recorder.Reset()
	}
	if err == nil {
		x.replay(result.Response)
		return nil
	}
	if own := (*idempotency.Error)(nil); errors.As(err, &own) {
		x.problem(own)
		return nil
	}
	return err
}

// run runs the handler, with a body to read and a response to write.
func (x *exchange) run(ctx context.Context) (idempotency.Response, error) {
	x.ownBody()
	if x.recorder == nil {
		x.recorder = NewRecorder(x.call.Writer, x.rules.engine.MaxResponseBytes())
	} else {
		x.recorder.Reset() // it is run again
	}
	request := x.call.Request.WithContext(ctx)
	if x.body != nil {
		x.recorder.request.Reset(x.body)
		request.Body, request.ContentLength, request.TransferEncoding = &x.recorder.request, int64(len(x.body)), nil
	}
	defer func() {
		if request.MultipartForm != nil { // net/http clears away only what it knows of
			_ = request.MultipartForm.RemoveAll()
		}
	}()
	if err := x.call.Next(x.recorder, request); err != nil {
		return idempotency.Response{}, err
	}
	return x.recorder.Response(x.rules.replay)
}

func (x *exchange) fingerprinted() []string {
	if x.more != nil {
		return x.more
	}
	return x.parts[:]
}

func (x *exchange) sameRequest(stored idempotency.Fingerprint) bool {
	return x.rules.options.Fingerprinter.Matches(stored, x.body, x.fingerprinted()...)
}

// read reads the key, then the body: a request without a usable key is turned away before its body is taken.
func (x *exchange) read() (keyed bool, err error) {
	call, options := &x.call, &x.rules.options
	if call.Pending != nil {
		return true, x.readAgain()
	}
	if call.ScopeErr != nil {
		return false, as(idempotency.ErrScopeMissing, call.ScopeErr)
	}
	if call.Scope == "" {
		return false, idempotency.ErrScopeMissing
	}
	key := ""
	if call.Key == nil {
		key, err = x.rules.headerKey(call.Request.Header)
		if err != nil && !(options.Optional && errors.Is(err, idempotency.ErrKeyMissing)) {
			return false, err
		}
	}
	if err = x.readBody(); err != nil {
		return false, err
	}
	if (key != "" || call.Key != nil) && len(x.body) == 0 && consumed(call.Request) {
		return false, errConsumed
	}
	if call.Key != nil {
		x.ownBody()
		if key, err = call.Key(x.body); err != nil {
			return false, as(idempotency.ErrKeyInvalid, err)
		}
	}
	if key == "" {
		if !options.Optional {
			return false, idempotency.ErrKeyMissing
		}
		return false, nil
	}
	x.in.Key = idempotency.Key{Scope: call.Scope, Value: key}
	if err := x.in.Key.Check(); err != nil {
		return false, err
	}
	if len(key) > options.MaxKeyBytes {
		return false, x.rules.tooLong
	}
	if options.Validate != nil {
		if err := options.Validate(key); err != nil {
			return false, as(idempotency.ErrKeyInvalid, err)
		}
	}
	x.parts, x.more = parts(call.Request, options.FingerprintHeaders)
	x.in.Fingerprint = options.Fingerprinter.Sum(x.body, x.fingerprinted()...)
	x.in.Matches = x.matches
	x.in.Describe = x.description
	x.in.SharesResponse = true // a Writer must not change what it is given, or keep it
	return true, nil
}

// readBody reads the request's body: into a buffer that is used again where that is large enough, since a replay needs no more of a
// body than its digest.
func (x *exchange) readBody() (err error) {
	if x.body, err = readBody(x.call.Request, x.rules.options.MaxRequestBytes, x.buffer); err != nil {
		return err
	}
	if x.lent = cap(x.body) > 0 && cap(x.body) <= maxBuffer; x.lent {
		x.buffer = x.body[:0]
	}
	return nil
}

// ownBody makes the body the request's own, before anybody of the user's sees it.
func (x *exchange) ownBody() {
	if x.lent {
		x.body, x.lent = append(make([]byte, 0, len(x.body)), x.body...), false
	}
}

// readAgain reads a request that the completer makes. Whose it is, its key, and that it is the same request, was settled when it
// first came: the rules for that may have changed since, and not all that they looked at is stored.
func (x *exchange) readAgain() (err error) {
	if err = x.readBody(); err != nil {
		return err
	}
	if len(x.body) == 0 && consumed(x.call.Request) {
		return errConsumed
	}
	x.in.Key, x.in.Fingerprint = x.call.Pending.Key, x.call.Pending.Fingerprint
	return nil
}

// as returns err if it is one of ours, and otherwise with it as the cause.
func as(otherwise *idempotency.Error, err error) error {
	if own := (*idempotency.Error)(nil); errors.As(err, &own) {
		return own
	}
	return otherwise.Because(err)
}

// replay sends a stored response.
func (x *exchange) replay(response idempotency.Response) {
	header := x.call.Writer.Header()
	if err := readable(response, header); err != nil {
		x.problem(err)
		return
	}
	if bodyAllowed(response.Status) {
		delete(header, "Content-Length") // that of an outer middleware: see Send
	}
	header[Replayed] = replayed
	x.call.Writer.WriteHeader(response.Status)
	if len(response.Body) > 0 {
		_, _ = x.call.Writer.Write(response.Body)
	}
}

// replayed is shared by all replays. Whoever adds to a header's values gets a copy, since it has no room.
var replayed = []string{"true"}

func (x *exchange) problem(err error) {
	own := idempotency.AsError(err)
	refused(x.call.Request.Context(), own)
	x.rules.options.OnError(x.call.Writer, x.call.Request, own)
}
