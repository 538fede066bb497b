package httpidem

import (
	"context"
	"errors"
	"net/http"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Call is one request at a protected route, as an adapter has it.
type Call struct {
	Writer  http.ResponseWriter
	Request *http.Request
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
	request, keyed, err := r.request(call)
	if err != nil {
		r.problem(call, err)
		return nil
	}
	recorder := NewRecorder(call.Writer, r.engine.MaxResponseBytes())
	sent := false
	defer func() {
		if !sent {
			recorder.Reset() // a panic: what the handler set must not be in the answer to it
		}
	}()
	runs := 0
	handler := func(ctx context.Context) (idempotency.Response, error) {
		if runs++; runs > 1 {
			recorder.Reset()
		}
		inner := call.Request.WithContext(ctx)
		if request.body != nil {
			body := &buffered{}
			body.Reset(request.body)
			inner.Body, inner.ContentLength, inner.TransferEncoding = body, int64(len(request.body)), nil
		}
		if err := call.Next(recorder, inner); err != nil {
			return idempotency.Response{}, err
		}
		return recorder.Response(r.replay)
	}
	var result idempotency.Result
	if keyed {
		result, err = r.engine.Run(call.Request.Context(), request.Request, handler)
	} else {
		result, err = r.engine.RunWithoutKey(call.Request.Context(), handler)
	}
	switch {
	case err != nil:
		recorder.Reset()
		sent = true
		var own *idempotency.Error
		if !errors.As(err, &own) {
			return err
		}
		r.problem(call, own)
		return nil
	case result.Replayed:
		recorder.Reset()
		sent = true
		r.replayTo(call, result.Response)
		return nil
	}
	sent = true
	recorder.Send()
	return nil
}

// incoming is a request that may be run.
type incoming struct {
	idempotency.Request
	body []byte
}

// request reads the key, then the body: a request without a usable key is turned away before its body is taken.
func (r *Rules) request(call Call) (in incoming, keyed bool, err error) {
	if call.ScopeErr != nil {
		if own := (*idempotency.Error)(nil); errors.As(call.ScopeErr, &own) {
			return in, false, own
		}
		return in, false, idempotency.ErrScopeMissing.Because(call.ScopeErr)
	}
	key := ""
	if call.Key == nil {
		if key, err = r.headerKey(call.Request.Header); err == nil {
			keyed = true
		} else if !r.options.Optional || !errors.Is(err, idempotency.ErrKeyMissing) {
			return in, false, err
		}
	}
	if in.body, err = readBody(call.Request, r.options.MaxRequestBytes); err != nil {
		return in, false, err
	}
	if call.Key != nil {
		if key, err = call.Key(in.body); err != nil {
			if own := (*idempotency.Error)(nil); errors.As(err, &own) {
				return in, false, own
			}
			return in, false, idempotency.ErrKeyInvalid.Because(err)
		}
		keyed = key != ""
		if !keyed && !r.options.Optional {
			return in, false, idempotency.ErrKeyMissing
		}
	}
	if !keyed {
		return in, false, nil
	}
	in.Key = idempotency.Key{Scope: call.Scope, Value: key}
	if err := in.Key.Check(); err != nil {
		return in, false, err
	}
	if r.options.Validate != nil {
		if err := r.options.Validate(key); err != nil {
			if own := (*idempotency.Error)(nil); errors.As(err, &own) {
				return in, false, own
			}
			return in, false, idempotency.ErrKeyInvalid.Because(err)
		}
	}
	parts := r.parts(call.Request)
	in.Fingerprint = r.options.Fingerprinter.Sum(in.body, parts...)
	body := in.body
	in.Matches = func(stored idempotency.Fingerprint) bool {
		return r.options.Fingerprinter.Matches(stored, body, parts...)
	}
	return in, true, nil
}

// replayTo sends a stored response.
func (r *Rules) replayTo(call Call, response idempotency.Response) {
	stored := make(http.Header, 4)
	if err := readable(response, stored); err != nil {
		r.problem(call, err)
		return
	}
	header := call.Writer.Header()
	for name, values := range stored {
		header[name] = values
	}
	header[Replayed] = []string{"true"}
	call.Writer.WriteHeader(response.Status)
	if len(response.Body) > 0 {
		_, _ = call.Writer.Write(response.Body)
	}
}

func (r *Rules) problem(call Call, err error) {
	r.options.OnError(call.Writer, call.Request, idempotency.AsError(err))
}
