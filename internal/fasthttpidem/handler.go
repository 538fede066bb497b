package fasthttpidem

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"
)

// Handler returns handler as net/http has it: for the requests that the completer makes. The values of a request's context are there for
// the middleware (see [Context]); its body is read as it is asked for, and a panic goes on. A response is sent when handler has
// returned: what it streams or writes to the connection itself goes nowhere.
func Handler(handler fasthttp.RequestHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fctx := new(fasthttp.RequestCtx)
		fctx.Init2(&connection{to: http.NewResponseController(w), from: address(r.RemoteAddr)}, silent{}, true)
		setRequest(fctx, r)
		// net/http finds out a type that nobody has set, and it is not fasthttp that sends this.
		fctx.Response.Header.SetNoDefaultContentType(true)
		setHeader(&fctx.Response.Header, w.Header())
		defer func() { // as fasthttp does between two requests: files of a form are removed, values closed
			fctx.Request.Reset()
			fctx.Response.Reset()
		}()
		handler(fctx)
		send(w, &fctx.Response)
	})
}

func setRequest(fctx *fasthttp.RequestCtx, r *http.Request) {
	header := &fctx.Request.Header
	header.SetMethod(r.Method)
	header.SetRequestURI(r.URL.RequestURI())
	for name, values := range r.Header {
		for _, value := range values {
			header.Add(name, value)
		}
	}
	header.SetHost(r.Host)
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		header.SetProtocol("HTTP/1.0")
	}
	if r.Body != nil && r.Body != http.NoBody {
		fctx.Request.SetBodyStream(struct{ io.Reader }{r.Body}, int(r.ContentLength)) // whose Close is the server's affair
	}
	fctx.SetUserValue(bridged{}, r)
}

func send(w http.ResponseWriter, response *fasthttp.Response) {
	header := w.Header()
	clear(header)
	for name, values := range headerOf(&response.Header, false) {
		if name != "Content-Length" {
			header[name] = values
		}
	}
	w.WriteHeader(response.StatusCode())
	if stream := response.BodyStream(); stream != nil {
		_, _ = io.Copy(w, stream)
		_ = response.CloseBodyStream()
	} else if body := response.Body(); len(body) > 0 {
		_, _ = w.Write(body)
	}
}

// connection is the net.Conn of a request that did not come by one.
type connection struct {
	net.Conn // nil: nothing else is asked of it
	to       *http.ResponseController
	from     net.Addr
}

func (c *connection) Read([]byte) (int, error)            { return 0, io.EOF }
func (c *connection) Write(b []byte) (int, error)         { return len(b), nil }
func (c *connection) Close() error                        { return nil }
func (c *connection) LocalAddr() net.Addr                 { return &net.TCPAddr{} }
func (c *connection) RemoteAddr() net.Addr                { return c.from }
func (c *connection) SetReadDeadline(at time.Time) error  { return c.to.SetReadDeadline(at) }
func (c *connection) SetWriteDeadline(at time.Time) error { return c.to.SetWriteDeadline(at) }
func (c *connection) SetDeadline(at time.Time) error {
	return errors.Join(c.to.SetReadDeadline(at), c.to.SetWriteDeadline(at))
}

func address(text string) net.Addr {
	if host, port, err := net.SplitHostPort(text); err == nil {
		if number, err := net.LookupPort("tcp", port); err == nil {
			return &net.TCPAddr{IP: net.ParseIP(host), Port: number}
		}
	}
	return &net.TCPAddr{}
}

type silent struct{}

func (silent) Printf(string, ...any) {}
