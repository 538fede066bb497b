package fasthttptest

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
)

// App is what a framework serves, as an http.Handler.
type App struct {
	http.Handler
	// Server is the framework's own, with its handler.
	Server *fasthttp.Server
}

// NewApp returns the App of a framework's server.
func NewApp(server *fasthttp.Server) *App {
	return &App{fasthttpidem.Handler(server.Handler), server}
}

// Listen serves handler on listener, until stop is called: an App as its framework's server does, another handler by a server in front
// of it. A panic of a handler closes its connection, which fasthttp leaves to middleware.
func Listen(listener net.Listener, handler http.Handler, readTimeout time.Duration) (stop func()) {
	server := &fasthttp.Server{
		Handler:            func(fctx *fasthttp.RequestCtx) { Serve(handler, fctx, context.Background()) },
		MaxRequestBodySize: BodyLimit, ReadBufferSize: HeaderLimit, NoDefaultServerHeader: true, Logger: silent{}, ReadTimeout: readTimeout,
	}
	if app, ok := handler.(*App); ok { // one that may be served in several places, until this or that is stopped
		its := app.Server
		server.Handler, server.ErrorHandler, server.StreamRequestBody = its.Handler, its.ErrorHandler, its.StreamRequestBody
	}
	next := server.Handler
	server.Handler = func(fctx *fasthttp.RequestCtx) {
		defer func() {
			if recover() != nil {
				_ = fctx.Conn().Close()
			}
		}()
		next(fctx)
	}
	go func() { _ = server.Serve(listener) }()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = server.ShutdownWithContext(ctx)
	}
}

const (
	// BodyLimit is more than any test's body has.
	BodyLimit = 64 << 20
	// HeaderLimit is more than any test's header has that is to be taken.
	HeaderLimit = 1 << 20
)

type silent struct{}

func (silent) Printf(string, ...any) {}
