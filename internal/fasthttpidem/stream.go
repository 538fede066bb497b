package fasthttpidem

import (
	"bufio"
	"io"
	"reflect"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
)

// streamed is a body of known length that fasthttp has not read (Server.StreamRequestBody). fasthttp says that a body has ended where
// the connection has, and reads on into the next request if it is asked again.
type streamed struct {
	from io.Reader
	left int64
	err  error
}

func (s *streamed) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if int64(len(b)) > s.left {
		b = b[:s.left]
	}
	n, err := s.from.Read(b)
	s.left -= int64(n)
	switch {
	case s.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	s.err = err
	return n, err
}

func (s *streamed) Close() error { return nil }

// isSocket reports whether a body stream is fasthttp's own, and none that middleware has put in its place.
func isSocket(stream io.Reader) bool { return reflect.TypeOf(stream) == socketStream() }

var socketStream = sync.OnceValue(func() reflect.Type {
	var request fasthttp.Request
	request.Header.SetMethod("POST")
	request.Header.SetContentLength(1)
	_ = request.ContinueReadBodyStream(bufio.NewReader(strings.NewReader("x")), 1)
	return reflect.TypeOf(request.BodyStream())
})

// drained is how much of a body that nobody has read is read before the connection is given up, as net/http does.
const drained = 256 << 10

// leave reads what is left of a streamed body, or else has the connection closed: fasthttp would take it for the next request.
func leave(fctx *fasthttp.RequestCtx, body io.Reader) {
	stream := fctx.Request.BodyStream()
	if stream == nil || !isSocket(stream) || fctx.Request.Header.ContentLength() == 0 {
		return
	}
	if s, ok := body.(*streamed); ok {
		if n, err := io.CopyN(io.Discard, s, drained+1); n <= drained && err == io.EOF {
			return
		}
	} else {
		_, _ = io.CopyN(io.Discard, stream, drained)
	}
	fctx.SetConnectionClose()
}
