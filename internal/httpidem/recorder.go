package httpidem

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// ErrBuffered is what Flush and Hijack return: a byte that is sent before the commit would break the promise.
var ErrBuffered = errors.New("idempotency: a protected response cannot be flushed or hijacked: it is sent when it is committed; " +
	"stream from a route that is not protected")

// Recorder is the http.ResponseWriter of a protected handler. It keeps the response until it is stored. It has no Unwrap and
// is no http.Flusher: nothing gets past it. Deadlines do pass.
type Recorder struct {
	to      http.ResponseWriter
	before  http.Header // what the outer middleware had set
	header  http.Header
	status  int
	body    []byte
	limit   int
	tooMuch bool
	sealed  bool     // the response was handed over: nothing is added to it
	request buffered // the request's body, for the handler
}

// NewRecorder returns a Recorder in front of w, for a body of at most limit bytes.
func NewRecorder(w http.ResponseWriter, limit int) *Recorder {
	r := &Recorder{to: w, limit: limit}
	if outer := w.Header(); len(outer) > 0 {
		r.before = outer.Clone()
	}
	r.begin()
	return r
}

func (r *Recorder) begin() {
	if r.before == nil {
		r.header = make(http.Header)
	} else {
		r.header = r.before.Clone()
	}
	r.status, r.body, r.tooMuch, r.sealed = 0, nil, false, false
}

// Reset forgets what was recorded, and gives the outer header back the state that it had.
func (r *Recorder) Reset() {
	outer := r.to.Header()
	clear(outer)
	maps.Copy(outer, r.before)
	r.begin()
}

// Header returns the header that the handler writes to: it begins with what the outer middleware had set.
func (r *Recorder) Header() http.Header { return r.header }

// WriteHeader takes the status, and the header as it is now. Informational responses are dropped: they would be sent at once.
func (r *Recorder) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	}
	if r.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	r.status = status
	outer := r.to.Header()
	clear(outer)
	for name, values := range r.header {
		// As a client reads them: a name has no case, and a header without a value is none. ("ETag" is not how Go spells it,
		// and a Content-Type of nil would be sniffed in the replay.)
		if len(values) > 0 && !r.isTrailer(name) {
			name = http.CanonicalHeaderKey(name)
			if outer[name] != nil {
				values = append(slices.Clip(outer[name]), values...)
			}
			outer[name] = values
		}
	}
}

// isTrailer reports whether net/http would send a header that the handler set behind the body. Trailers are not recorded, so that
// a replay would lack them; those of the outer middleware are its own affair.
func (r *Recorder) isTrailer(name string) bool {
	return strings.HasPrefix(name, http.TrailerPrefix) && r.before[name] == nil
}

// Write keeps b. It returns [idempotency.ErrResponseTooLarge] when the body grows over the limit.
func (r *Recorder) Write(b []byte) (int, error) { return write(r, b) }

// WriteString is Write for a string.
func (r *Recorder) WriteString(s string) (int, error) { return write(r, s) }

func write[T []byte | string](r *Recorder, b T) (int, error) {
	if r.sealed {
		return 0, http.ErrHandlerTimeout
	}
	r.WriteHeader(http.StatusOK)
	if !bodyAllowed(r.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if r.tooMuch || len(r.body)+len(b) > r.limit {
		r.tooMuch = true
		return 0, idempotency.ErrResponseTooLarge
	}
	if r.body == nil {
		r.body = make([]byte, 0, max(len(b), 256))
	}
	r.body = append(r.body, b...)
	return len(b), nil
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// Response returns what was recorded, with the headers on list encoded. Without a WriteHeader the status is 200. What a
// goroutine of the handler's writes later is refused.
func (r *Recorder) Response(list []string) (idempotency.Response, error) {
	r.WriteHeader(http.StatusOK)
	r.sealed = true
	if r.tooMuch {
		return idempotency.Response{}, idempotency.ErrResponseTooLarge
	}
	header := r.to.Header()
	cleanHeader(list, header)
	return idempotency.Response{Status: r.status, Header: encodeHeader(list, header, r.before), Body: r.body}, nil
}

// Send sends what was recorded.
func (r *Recorder) Send() {
	header := r.to.Header()
	// A handler that passes on another service's headers may pass on its mark, and how its body was framed; and trailers are not
	// recorded.
	for _, name := range [...]string{Replayed, "Trailer", "Transfer-Encoding"} {
		if outer, ok := r.before[name]; ok {
			header[name] = outer
		} else {
			delete(header, name)
		}
	}
	// The server counts the bytes itself: a length that the handler set by hand may be wrong, or be that of a body
	// which middleware outside of this one compresses.
	if bodyAllowed(r.status) {
		header.Del("Content-Length")
	}
	r.to.WriteHeader(r.status)
	if len(r.body) > 0 {
		_, _ = r.to.Write(r.body) // a client that is gone retries, and is answered by a replay
	}
}

// FlushError refuses: see [ErrBuffered].
func (r *Recorder) FlushError() error { return ErrBuffered }

// Hijack refuses: see [ErrBuffered].
func (r *Recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, ErrBuffered }

// SetReadDeadline sets the connection's read deadline, for http.ResponseController.
func (r *Recorder) SetReadDeadline(deadline time.Time) error {
	return http.NewResponseController(r.to).SetReadDeadline(deadline)
}

// SetWriteDeadline sets the connection's write deadline, for http.ResponseController.
func (r *Recorder) SetWriteDeadline(deadline time.Time) error {
	return http.NewResponseController(r.to).SetWriteDeadline(deadline)
}

// EnableFullDuplex does nothing: the body is read before the handler runs, and the response sent after it.
func (r *Recorder) EnableFullDuplex() error { return nil }
