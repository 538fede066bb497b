package proxy

import (
	"bytes"
	"net/http"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// The codes of the proxy's own, beside those of package idempotency.
const (
	// CodeUnreachable: no connection to the upstream. Nothing was sent.
	CodeUnreachable idempotency.Code = "upstream-unreachable"
	// CodeTimeout: the request was sent, and the answer was not there in time. The outcome is unknown.
	CodeTimeout idempotency.Code = "upstream-timeout"
	// CodeUnknown: the request was sent, and the connection broke before the answer was there as a whole. The outcome is unknown.
	CodeUnknown idempotency.Code = "upstream-unknown"
	// CodeStreaming: a protected route does not stream.
	CodeStreaming idempotency.Code = "streaming-refused"
	// CodeNoRoute: no route matches.
	CodeNoRoute idempotency.Code = "no-route"
)

// statusHeader says that an answer is the proxy's own, and why (RFC 9209). Upstreams' own are taken off, so that it can be believed.
const statusHeader = "Proxy-Status"

// keptMark is on the one answer of the proxy's own that is stored.
const keptMark = "onlyonce; error=http_response_body_size"

// problem is an answer of the proxy's own.
type problem struct {
	httpidem.Problem
	cause string // of RFC 9209
	after time.Duration
}

func (p problem) write(w http.ResponseWriter) {
	p.Type = httpidem.TypeBase + string(p.Code)
	if p.cause != "" {
		w.Header().Set(statusHeader, p.cause)
	}
	p.Write(w, p.after)
}

// own reports whether headers, as they are stored, are of an answer of the proxy's own, and whether it is to be kept.
func own(header []byte) (own, kept bool) {
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		if cause, found := bytes.CutPrefix(line, []byte(statusHeader+": ")); found {
			return true, string(cause) == keptMark
		}
	}
	return false, false
}

func unreachable(cause string) problem {
	return problem{httpidem.Problem{
		Title: "Upstream unreachable", Status: http.StatusBadGateway, Code: CodeUnreachable, Retryable: true, KeyAction: idempotency.Reuse,
		Detail: "The service could not be reached, and the request was not sent to it. Send it again with the same key.",
	}, "onlyonce; error=" + cause, time.Second}
}

const (
	mayHave     = "The operation may or may not have taken effect. "
	againLater  = mayHave + "Send it again with the same key, not before the time that Retry-After says; a new key could repeat it."
	againAtOnce = mayHave + "Send it again with the same key; it may then be done once more."
	againNoKey  = mayHave + "There was no idempotency key: find out before you send it again."
)

func timedOut(detail string, after time.Duration) problem {
	return problem{httpidem.Problem{
		Title: "Upstream timed out", Status: http.StatusGatewayTimeout, Code: CodeTimeout, Retryable: detail != againNoKey, KeyAction: idempotency.Reuse, Detail: detail,
	}, "onlyonce; error=connection_read_timeout", after}
}

func cutOff(detail string, after time.Duration) problem {
	return problem{httpidem.Problem{
		Title: "Upstream broke off", Status: http.StatusBadGateway, Code: CodeUnknown, Retryable: detail != againNoKey, KeyAction: idempotency.Reuse, Detail: detail,
	}, "onlyonce; error=http_response_incomplete", after}
}

// tooLarge stands for an answer that cannot be kept, and hence not given either: its retry could not get the same one. kept says that it is stored in
// the answer's place, since the upstream has done what it was asked.
func tooLarge(kept bool) problem {
	p := problem{httpidem.Problem{
		Title: "Response too large", Status: http.StatusBadGateway, Code: idempotency.CodeResponseTooLarge, KeyAction: idempotency.Reuse,
		Detail: "The operation was carried out, but its response is larger than can be kept for a retry, so it is not available. The operation is not repeated under this key.",
	}, keptMark, 0}
	if !kept {
		p.cause += `; details="not kept"`
		p.Detail = "The service refused or failed, and its response is larger than this operation takes. Send it again with the same key."
		p.Retryable = true
	}
	return p
}

func streaming(what string) problem {
	return problem{httpidem.Problem{
		Title: "Streaming refused", Status: http.StatusBadRequest, Code: CodeStreaming, KeyAction: idempotency.Reuse,
		Detail: "This operation is answered once and as a whole, and not by " + what + ". It was not processed.",
	}, "onlyonce; error=http_request_error", 0}
}

func noRoute(status int) problem {
	p := problem{httpidem.Problem{
		Title: "Not found", Status: status, Code: CodeNoRoute, KeyAction: idempotency.Reuse, Detail: "There is no such operation here. Nothing of it was processed.",
	}, "onlyonce; error=destination_not_found", 0}
	if status == http.StatusMethodNotAllowed {
		p.Title, p.Detail = "Method not allowed", "There is no such operation here by this method; the header Allow lists those that there are. Nothing of it was processed."
	}
	return p
}
