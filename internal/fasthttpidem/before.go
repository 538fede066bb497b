package fasthttpidem

import (
	"bytes"
	"reflect"

	"github.com/valyala/fasthttp"
)

// before is what a handler finds, and what there is again if nothing came of it.
type before struct {
	fctx     *fasthttp.RequestCtx
	response fasthttp.Response
	values   map[any]any
	header   fasthttp.RequestHeader
	uri      fasthttp.URI
}

func newBefore(fctx *fasthttp.RequestCtx, runsAgain bool) *before {
	b := &before{fctx: fctx}
	fctx.Response.CopyTo(&b.response)
	if runsAgain {
		b.values = valuesOf(fctx)
		fctx.URI().CopyTo(&b.uri) // which parses it; before the copy of the header
		fctx.Request.Header.CopyTo(&b.header)
	}
	return b
}

func valuesOf(fctx *fasthttp.RequestCtx) map[any]any {
	values := map[any]any{}
	fctx.VisitUserValuesAll(func(key, value any) { values[key] = value })
	return values
}

func (b *before) restoreResponse() {
	if b.fctx.Hijacked() {
		b.fctx.Hijack(nil)
		b.fctx.HijackSetNoResponse(false)
	}
	b.response.CopyTo(&b.fctx.Response)
}

// restoreValues gives the request back as it came, and takes back what the handler has set: fasthttp's user values are Fiber's locals.
func (b *before) restoreValues() {
	b.header.CopyTo(&b.fctx.Request.Header)
	b.uri.CopyTo(b.fctx.URI())
	for key := range valuesOf(b.fctx) {
		if _, had := b.values[key]; !had {
			b.fctx.RemoveUserValue(key)
		}
	}
	for key, value := range b.values {
		b.fctx.SetUserValue(key, value)
	}
}

// Position remembers where a framework's context is among its handlers, which no framework tells. rewind brings it back there, as often
// as it is called. c is a pointer to the struct that knows it; of anything else, nothing is remembered.
func Position(c any) (rewind func()) {
	var back []func()
	remember(reflect.ValueOf(c), &back)
	return func() {
		for _, undo := range back {
			undo()
		}
	}
}

// remember adds what sets the struct back that c leads to, and those that are embedded in it by a pointer. Its bytes are brought back in
// place, since they are written over there, and other fields lie in them.
func remember(c reflect.Value, back *[]func()) {
	for c.Kind() == reflect.Pointer || c.Kind() == reflect.Interface {
		if c.IsNil() {
			return
		}
		c = c.Elem()
	}
	if c.Kind() != reflect.Struct || !c.CanAddr() {
		return
	}
	if c.CanSet() {
		then := reflect.New(c.Type()).Elem()
		then.Set(c)
		*back = append(*back, func() { c.Set(then) })
	}
	for i := range c.NumField() {
		field := c.Field(i)
		switch kind := field.Kind(); {
		case kind == reflect.Slice && field.Type().Elem().Kind() == reflect.Uint8:
			at := field.Bytes()
			was := bytes.Clone(at)
			*back = append(*back, func() { copy(at, was) })
		case c.Type().Field(i).Anonymous && (kind == reflect.Pointer || kind == reflect.Interface):
			remember(field, back)
		}
	}
}
