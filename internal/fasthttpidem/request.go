package fasthttpidem

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/idempotency"
)

// NewRequest returns the request of fctx as net/http would have it, with ctx as its context. Nothing in it is fasthttp's own memory but
// what its body is read from, which must happen before the handler of fctx returns.
//
// A request that net/http would have refused has a body that cannot be read.
func NewRequest(fctx *fasthttp.RequestCtx, ctx context.Context) *http.Request {
	header := &fctx.Request.Header
	r := &http.Request{
		Method:     string(header.Method()),
		Proto:      string(header.Protocol()),
		ProtoMajor: 1,
		RequestURI: string(header.RequestURI()),
		Host:       string(header.Host()),
		RemoteAddr: fctx.RemoteAddr().String(),
		TLS:        fctx.TLSConnectionState(),
		Body:       http.NoBody,
	}
	if header.IsHTTP11() {
		r.ProtoMinor = 1
	}
	r.Header, r.Trailer = headers(fctx)
	r.Body, r.ContentLength = body(fctx)
	if outer := bridgedFrom(fctx); outer != nil { // and what middleware in front of the bridge has made of it
		target := *outer.URL
		r.URL, r.RequestURI, r.RemoteAddr, r.TLS, r.Trailer = &target, outer.RequestURI, outer.RemoteAddr, outer.TLS, outer.Trailer
		r.Form, r.PostForm, r.MultipartForm = outer.Form, outer.PostForm, outer.MultipartForm
	} else if target, err := url.ParseRequestURI(r.RequestURI); err != nil {
		r.URL = &url.URL{Path: r.RequestURI}
		r.Body, r.ContentLength = unreadable{errTarget}, -1
	} else {
		r.URL = target
		if target.Host != "" { // as proxies are asked
			r.Host = target.Host
		}
	}
	return r.WithContext(Context(fctx, ctx))
}

// headers returns the header as it was sent, and as middleware has changed it, apart from the trailers that fasthttp puts into it.
func headers(fctx *fasthttp.RequestCtx) (header, trailer http.Header) {
	sent := &fctx.Request.Header
	header = make(http.Header, 16)
	for name, value := range sent.All() {
		add(header, string(name), string(value))
	}
	for _, name := range [...]string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"} { // net/http takes them out, too
		delete(header, name)
	}
	// Trailers come after chunks, of which there may be none, and have not come yet where those are still to be read.
	if sent.ContentLength() > 0 || fctx.Request.IsBodyStream() {
		return header, nil
	}
	lines := http.Header{} // as they came by the socket, if they did
	for name, value := range sent.AllInOrder() {
		add(lines, string(name), string(value))
	}
	if lines["Transfer-Encoding"] == nil {
		return header, nil
	}
	for name, values := range header {
		if n := len(lines[name]); len(values) > n && name != "Cookie" {
			if trailer == nil {
				trailer = http.Header{}
			}
			trailer[name] = values[n:]
			if header[name] = values[:n:n]; n == 0 {
				delete(header, name)
			}
		}
	}
	return header, trailer
}

// chunked is the length that fasthttp gives a body in chunks.
const chunked = -1

func add(header http.Header, name, value string) {
	name = http.CanonicalHeaderKey(name)
	header[name] = append(header[name], value)
}

var (
	errTarget = &idempotency.Error{
		Code:   idempotency.CodeRequestUnreadable,
		Detail: "The request's target is not a valid URI. It was not processed.",
	}
	// fasthttp gives the same end of file to the last chunk and to a connection that ends behind any chunk: half a body would be
	// taken for all of it.
	errStreamedChunks = &idempotency.Error{
		Code: idempotency.CodeRequestUnreadable,
		Detail: "The request's body was sent in chunks, and this server cannot tell whether all of them have come. It was not processed; " +
			"send it with a Content-Length.",
	}
)

// body returns what the request's body is read from, and its length, or -1.
func body(fctx *fasthttp.RequestCtx) (io.ReadCloser, int64) {
	request := &fctx.Request
	length := request.Header.ContentLength()
	if stream := request.BodyStream(); stream != nil {
		switch {
		case length == 0:
			return http.NoBody, 0
		case length == chunked && isSocket(stream):
			return unreadable{errStreamedChunks}, -1
		case length > 0 && isSocket(stream):
			return &streamed{from: stream, left: int64(length)}, int64(length)
		default:
			return io.NopCloser(stream), max(int64(length), -1)
		}
	}
	if len(request.Header.MultipartFormBoundary()) > 0 && len(request.Header.Peek("Content-Encoding")) == 0 {
		if form, err := request.MultipartForm(); err == nil {
			return &parts{form: form, boundary: string(request.Header.MultipartFormBoundary())}, max(int64(length), -1)
		}
	}
	text := request.Body()
	if len(text) == 0 {
		// One that was announced and is not here was read by somebody else; httpidem looks at the length.
		return http.NoBody, max(int64(length), 0)
	}
	return io.NopCloser(bytes.NewReader(text)), int64(len(text))
}

// unreadable is a body whose reading fails.
type unreadable struct{ why error }

func (u unreadable) Read([]byte) (int, error) { return 0, u.why }
func (u unreadable) Close() error             { return nil }

// cloned is a string that may be fasthttp's memory, as one that is not.
func cloned(s string, err error) (string, error) { return strings.Clone(s), err }
