package httpidem

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
)

// readBody reads a body of at most limit bytes to its end. It is read before anything else is done: the digest needs it, the
// handler may be run twice, and net/http notices that a client is gone only once the body was read. It is read into buffer as far as
// there is room.
func readBody(r *http.Request, limit int, buffer []byte) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > int64(limit) {
		if expectsContinue(r) {
			return nil, idempotency.ErrRequestTooLarge // reading would ask for what is then refused
		}
		return nil, tooLarge(r)
	}
	// What the client claims is believed up to 64 KiB, and then only as it arrives. One byte more finds the end.
	body := buffer[:0]
	if room := int(max(min(r.ContentLength, 64<<10), 511) + 1); cap(body) < room {
		body = make([]byte, 0, room)
	}
	for {
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case len(body) > limit:
			return nil, tooLarge(r)
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			if outer := (*http.MaxBytesError)(nil); errors.As(err, &outer) {
				return nil, idempotency.ErrRequestTooLarge.Because(err)
			}
			return nil, idempotency.ErrRequestUnreadable.Because(err)
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
	}
}

// maxBuffer is the largest buffer that is kept for other requests.
const maxBuffer = 16 << 10

// expectsContinue reports whether the client waits for a 100 before it sends the body, as net/http decides it.
func expectsContinue(r *http.Request) bool {
	for expectation := range strings.SplitSeq(r.Header.Get("Expect"), ",") {
		if strings.EqualFold(strings.Trim(expectation, " \t"), "100-continue") {
			return true
		}
	}
	return false
}

// errConsumed refuses to take any two requests for the same because neither has a body any more.
var errConsumed = &idempotency.Error{
	Code:   idempotency.CodeInternal,
	Detail: "The server read the request's body before it could be protected. The operation was not run.",
	Err: errors.New("idempotency: the request's body was read before it came here (by ParseForm, a signature check …): " +
		"mount the middleware outside of what reads it, or have that put it back"),
}

// consumed reports whether a body that turned out empty was not, as far as that shows. What was sent in chunks shows only where
// it was parsed as a form.
func consumed(r *http.Request) bool {
	return r.ContentLength > 0 || len(r.PostForm) > 0 || r.MultipartForm != nil
}

// drained is how much of a body that is too large is read all the same. A server that closes a connection while the client is
// still sending resets it, and the client sees that instead of the answer.
const drained = 16 << 20

func tooLarge(r *http.Request) error {
	_, err := io.CopyN(io.Discard, r.Body, drained)
	if err != nil && !errors.Is(err, io.EOF) {
		return idempotency.ErrRequestTooLarge.Because(err)
	}
	return idempotency.ErrRequestTooLarge
}

// buffered is a body that was read already.
type buffered struct{ bytes.Reader }

func (*buffered) Close() error { return nil }

// parts are what makes a request what it is, beside its body: method, path, query, media type; and, all of it in more, the
// chosen headers where there are any.
func parts(r *http.Request, headers []string) (first [5]string, more []string) {
	first = [5]string{r.Method, r.URL.EscapedPath(), asked(r), r.URL.RawQuery, mediaType(r.Header.Get("Content-Type"))}
	if len(headers) == 0 {
		return first, nil
	}
	more = append(more, first[:]...)
	for _, name := range headers {
		values := r.Header[name]
		if name == "Host" { // net/http takes it out of the header
			values = []string{r.Host}
		}
		more = append(more, name, strconv.Itoa(len(values))) // counted, or a value could pass for the next name
		more = append(more, values...)
	}
	return first, more
}

// asked returns the path that the client asked for, which may be more than is left in the URL: one handler mounted in several
// places (http.StripPrefix) sees the same rest of it.
func asked(r *http.Request) string {
	path := r.RequestURI
	if !strings.HasPrefix(path, "/") { // as proxies are asked, with the host in front
		_, path, _ = strings.Cut(path, "://")
		path = path[max(0, strings.IndexByte(path, '/')):]
	}
	path, _, _ = strings.Cut(path, "?")
	return path
}

// mediaType returns a Content-Type without its parameters: another charset or boundary shows in the body if it matters.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}
