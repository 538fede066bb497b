package fasthttpidem

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// Writer is the http.ResponseWriter in front of fasthttp's response, which is sent when the handler has returned. The header begins with
// what the response has already.
type Writer struct {
	fctx   *fasthttp.RequestCtx
	header http.Header // nil until somebody asks
	wrote  bool
}

// NewWriter returns a Writer for the response of fctx.
func NewWriter(fctx *fasthttp.RequestCtx) *Writer { return &Writer{fctx: fctx} }

// Header returns the header that WriteHeader puts into the response, in place of what is there.
func (w *Writer) Header() http.Header {
	if w.header == nil {
		w.header = headerOf(&w.fctx.Response.Header, false)
	}
	return w.header
}

// WriteHeader begins the response anew. What is called a second time does nothing.
func (w *Writer) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = true
	setHeader(&w.fctx.Response.Header, w.Header())
	w.fctx.Response.ResetBody()
	w.fctx.SetStatusCode(status)
}

// Write copies b.
func (w *Writer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.fctx.Response.AppendBody(b)
	return len(b), nil
}

// SetReadDeadline sets the connection's read deadline, for http.ResponseController.
func (w *Writer) SetReadDeadline(deadline time.Time) error {
	if conn := w.fctx.Conn(); conn != nil {
		return conn.SetReadDeadline(deadline)
	}
	return http.ErrNotSupported
}

// SetWriteDeadline sets the connection's write deadline, for http.ResponseController. The server sets its own when the handler has
// returned, if it has one (Server.WriteTimeout).
func (w *Writer) SetWriteDeadline(deadline time.Time) error {
	if conn := w.fctx.Conn(); conn != nil {
		return conn.SetWriteDeadline(deadline)
	}
	return http.ErrNotSupported
}

// headerOf returns a copy of a response's header. The Content-Type that fasthttp adds by itself is in it where withDefault is set.
func headerOf(from *fasthttp.ResponseHeader, withDefault bool) http.Header {
	header := make(http.Header, 8)
	for name, value := range from.All() {
		add(header, string(name), string(value))
	}
	if !withDefault && !saysContentType(from) {
		delete(header, "Content-Type")
	}
	delete(header, "Transfer-Encoding") // it is fasthttp's affair how a body is framed
	return header
}

// saysContentType reports whether somebody has set the Content-Type.
func saysContentType(header *fasthttp.ResponseHeader) bool {
	if !bytes.Equal(header.ContentType(), defaultContentType) {
		return len(header.ContentType()) > 0
	}
	var alone fasthttp.ResponseHeader
	header.CopyTo(&alone)
	alone.SetNoDefaultContentType(true)
	return len(alone.ContentType()) > 0
}

var defaultContentType = func() []byte {
	var header fasthttp.ResponseHeader
	return bytes.Clone(header.ContentType())
}()

// setHeader puts header in place of all that is in to. Content-Length is not taken over: the server counts.
func setHeader(to *fasthttp.ResponseHeader, header http.Header) {
	var names []string
	for name := range to.All() {
		names = append(names, string(name))
	}
	for _, name := range names {
		to.Del(name)
	}
	to.Del("Content-Length")
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if strings.EqualFold(name, "Content-Length") {
			continue
		}
		for _, value := range header[name] {
			to.Add(oneLine.Replace(name), oneLine.Replace(value))
		}
	}
}

// oneLine does to a value what net/http does before it is sent. fasthttp does it to some.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")
