package fasthttpidem

import (
	"context"
	"net/http"

	"github.com/valyala/fasthttp"
)

// bridged is where [Handler] leaves the request that it serves.
type bridged struct{}

func bridgedFrom(fctx *fasthttp.RequestCtx) *http.Request {
	r, _ := fctx.UserValue(bridged{}).(*http.Request)
	return r
}

// Context returns ctx, which is what the framework has for the request of fctx, with the values of the request that [Handler] has made
// it of, where there is one.
func Context(fctx *fasthttp.RequestCtx, ctx context.Context) context.Context {
	r := bridgedFrom(fctx)
	switch {
	case r == nil:
		return ctx
	case ctx.Done() == nil:
		return joined{r.Context(), ctx, r.Context()}
	default:
		return joined{ctx, ctx, r.Context()}
	}
}

// joined has the values of two contexts, and ends with one.
type joined struct {
	context.Context
	inner, outer context.Context
}

func (j joined) Value(key any) any {
	if value := j.inner.Value(key); value != nil {
		return value
	}
	return j.outer.Value(key)
}
