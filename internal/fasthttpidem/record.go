package fasthttpidem

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"

	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// record moves the response that the handler has written into recorder. An error says why there is none that could be kept: what the
// handler has done is rolled back then.
func record(recorder *httpidem.Recorder, fctx *fasthttp.RequestCtx, response *fasthttp.Response) error {
	header := headerOf(&response.Header, sendsBody(response))
	switch status := response.StatusCode(); {
	case fctx.Hijacked() || status == http.StatusSwitchingProtocols:
		return refused("it takes over the connection")
	case streams(response, header):
		return refused("it streams its response while that is made")
	case status < 200 || status > 999:
		return failed(fmt.Errorf("idempotency: the handler answered with the status %d, which is no final one: answer with 200 to 599", status))
	}
	for name := range response.Header.Trailers() { // they are not recorded, so that a replay would lack them
		delete(header, http.CanonicalHeaderKey(string(name)))
	}
	own := recorder.Header()
	clear(own)
	maps.Copy(own, header)
	recorder.WriteHeader(response.StatusCode())
	if stream := response.BodyStream(); stream != nil {
		return copied(recorder, stream, response.Header.ContentLength())
	}
	if body := response.Body(); len(body) > 0 {
		_, _ = recorder.Write(body) // recorder.Response says what is wrong with it
	}
	return nil
}

// sendsBody reports whether fasthttp would send a body, and with it the Content-Type that it has for those without.
func sendsBody(response *fasthttp.Response) bool {
	if status := response.StatusCode(); status == http.StatusNoContent || status == http.StatusNotModified {
		return false
	}
	return response.IsBodyStream() || len(response.Body()) > 0
}

// streams reports whether the response is written by somebody who goes on writing after the handler has returned, or who may never end.
func streams(response *fasthttp.Response, header http.Header) bool {
	stream := response.BodyStream()
	if stream == nil {
		return false
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	_, piped := stream.(net.Conn) // as SetBodyStreamWriter has it
	return piped || media == "text/event-stream"
}

// copied reads a body that the handler has opened (SendStream, SendFile) while its transaction is still there. length is what was
// announced, or negative.
func copied(recorder *httpidem.Recorder, stream io.Reader, length int) error {
	n, err := io.Copy(struct{ io.Writer }{recorder}, stream)
	switch {
	case errors.Is(err, idempotency.ErrResponseTooLarge), errors.Is(err, http.ErrBodyNotAllowed):
		return nil // as recorder.Response says; or as fasthttp does, which would not send it
	case err != nil:
		return failed(fmt.Errorf("idempotency: the body that the handler answered with could not be read: %w", err))
	case length >= 0 && n != int64(length):
		return failed(fmt.Errorf("idempotency: the body that the handler answered with has %d bytes, and it said %d", n, length))
	}
	return nil
}

func refused(why string) error {
	return failed(fmt.Errorf("%w (%s)", httpidem.ErrBuffered, why))
}

func failed(cause error) error { return &idempotency.Error{Code: idempotency.CodeInternal, Err: cause} }
