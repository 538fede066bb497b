package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
)

// resets reads requests by HTTP/2, and resets each stream by this error.
func resets(reason byte) func(c *conn) {
	return frames(func(stream string) string {
		return "\x00\x00\x04\x03\x00" + stream + "\x00\x00\x00" + string(rune(reason))
	})
}

// frames speaks as much HTTP/2 as it takes to read requests to their end, and answers each by these frames.
func frames(answer func(stream string) string) func(c *conn) {
	const data, headers, settings, endOrAck = 0, 1, 4, 1
	return func(c *conn) {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.CopyN(io.Discard, c.Reader, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		_, _ = c.Conn.Write([]byte{0, 0, 0, settings, 0, 0, 0, 0, 0})
		for head := make([]byte, 9); ; {
			if _, err := io.ReadFull(c.Reader, head); err != nil {
				return
			}
			length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
			if _, err := io.CopyN(io.Discard, c.Reader, length); err != nil {
				return
			}
			switch kind, flags := head[3], head[4]; {
			case kind == settings && flags&endOrAck == 0:
				_, _ = c.Conn.Write([]byte{0, 0, 0, settings, endOrAck, 0, 0, 0, 0})
			case (kind == data || kind == headers) && flags&endOrAck != 0:
				c.up.effects.Add(1)
				c.say("%s", answer(string(head[5:])))
			}
		}
	}
}

// Go's HTTP/2 sends again what was reset by PROTOCOL_ERROR or REFUSED_STREAM, and only the latter says that nothing was done.
func TestAStreamThatIsResetIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for name, reason := range map[string]byte{"PROTOCOL_ERROR": 1, "INTERNAL_ERROR": 2, "REFUSED_STREAM": 7, "CANCEL": 8} {
		for with, body := range bodies {
			t.Run(name+" "+with, func(t *testing.T) {
				t.Parallel()
				up := newUpstream(t, resets(reason))
				g := front(t, newClocked(t), configured(t, up.url(), "upstream_protocol: http2", "idle_timeout: 10ms"))
				g.post("k", body).problem(http.StatusBadGateway, proxy.CodeUnknown)
				g.post("k", body).problem(http.StatusConflict, idempotency.CodeInProgress)
				up.hasEffects(1)
			})
		}
	}
}

// It is no body that HTTP has, but by HTTP/2 it arrives, and the work was done all the same.
func TestAStatusWithoutABodyIsKeptAlsoWhereTheUpstreamSendsOne(t *testing.T) {
	t.Parallel()
	for status, coded := range map[int]string{http.StatusNoContent: "\x89", http.StatusNotModified: "\x8b"} {
		up := newUpstream(t, frames(func(stream string) string {
			return "\x00\x00\x01\x01\x04" + stream + coded + "\x00\x00\x04\x00\x01" + stream + "paid"
		}))
		g := front(t, newClocked(t), configured(t, up.url(), "upstream_protocol: http2", "idle_timeout: 10ms"), func(s *httptest.Server) { s.Config.ErrorLog = silent })
		first := g.post("k", "{}").is(status, "")
		g.post("k", "{}").replays(first)
		up.hasEffects(1)
	}
}
