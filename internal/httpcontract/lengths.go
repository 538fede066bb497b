package httpcontract

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var lengthTests = []test{
	{"every answer has one length, whatever the handler says of it", everyAnswerHasOneLength},
	{"a part of a document is replayed as that part", aPartOfADocumentIsReplayedAsThatPart},
	{"a stored body that its status has no room for is not sent", aStoredBodyWithoutRoomIsNotSent},
	{"trailers are not sent however a handler announces them", trailersAreNotSentHoweverAnnounced},
}

// Go's client would overlook a length that is sent twice.
func everyAnswerHasOneLength(w *world) {
	for name, header := range map[string]http.Header{
		"none":               {},
		"the right one":      {"Content-Length": {"12"}},
		"too long":           {"Content-Length": {"13"}},
		"too short":          {"Content-Length": {"3"}},
		"two":                {"Content-Length": {"12", "12"}},
		"two that differ":    {"Content-Length": {"12", "3"}},
		"in small letters":   {"content-length": {"3"}},
		"no number":          {"Content-Length": {"twelve"}},
		"empty":              {"Content-Length": {""}},
		"an encoding":        {"Transfer-Encoding": {"chunked"}},
		"no encoding at all": {"Transfer-Encoding": {"identity"}},
		"an unknown one":     {"Transfer-Encoding": {"gzip"}},
		"both":               {"Content-Length": {"3"}, "Transfer-Encoding": {"identity"}},
	} {
		for _, body := range []string{"paid in full", ""} {
			w.each(fmt.Sprint(name, " of ", len(body)), func(w *world) {
				route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
					for name, values := range header {
						writer.Header()[name] = values
					}
					writer.WriteHeader(http.StatusCreated)
					if body != "" {
						_, _ = writer.Write([]byte(body[:4]))
						_, _ = writer.Write([]byte(body[4:]))
					}
				})
				server, key := w.serve(route), w.key()
				var first answer
				for i := range 3 {
					conn := server.dial()
					conn.send(payment(key, "{}"))
					got := conn.answer()
					if i == 0 {
						first = got
						first.is(http.StatusCreated, body)
					} else {
						got.replays(first)
					}
					require.Equal(w, []string{fmt.Sprint(len(body))}, conn.lines("Content-Length"))
					require.Empty(w, conn.lines("Transfer-Encoding"))
					conn.send(payment(key, "{}"))
					conn.answer().replays(first) // the connection is still in step
				}
				route.ran(1)
			})
		}
	}
}

// http.ServeContent heeds a Range whatever the method. A 206 without its Content-Range says nothing (RFC 9110, section 15.3.7).
func aPartOfADocumentIsReplayedAsThatPart(w *world) {
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		writer.Header().Set("ETag", `"v1"`)
		http.ServeContent(writer, r, "receipt.txt", time.Time{}, strings.NewReader("0123456789"))
	})
	server := w.serve(route)
	for name, tt := range map[string]struct {
		asked  string
		status int
		part   []string
		body   string
	}{
		"a part":       {"bytes=2-4", http.StatusPartialContent, []string{"bytes 2-4/10"}, "234"},
		"the end":      {"bytes=-3", http.StatusPartialContent, []string{"bytes 7-9/10"}, "789"},
		"all":          {"", http.StatusOK, nil, "0123456789"},
		"out of range": {"bytes=10-", http.StatusRequestedRangeNotSatisfiable, []string{"bytes */10"}, "invalid range: failed to overlap\n"},
	} {
		w.each(name, func(w *world) {
			key, server := w.key(), server.in(w)
			first := server.talk(payment(key, "{}", "Range: "+tt.asked))
			first.is(tt.status, tt.body)
			require.Equal(w, tt.part, first.header["Content-Range"])
			for _, other := range []string{tt.asked, "", "bytes=0-0"} {
				again := server.talk(payment(key, "{}", "Range: "+other))
				again.replays(first)
				require.Equal(w, tt.part, again.header["Content-Range"])
			}
		})
	}
	route.ran(4)
	w.hasEffects(3)
}

func aStoredBodyWithoutRoomIsNotSent(w *world) {
	if w.sealed() {
		w.Skip("a sealed record that was changed is not opened")
	}
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route)
	for _, status := range []int{http.StatusNoContent, http.StatusNotModified} {
		key := w.key()
		server.talk(payment(key, "{}")).is(http.StatusCreated, `{"status":"answered"}`)
		w.damage(key, idempotency.Response{Status: status, Header: []byte("Etag: x\r\n"), Body: []byte("HTTP/1.1 200 OK\r\n\r\n")})
		conn := server.dial()
		for range 2 {
			conn.send(payment(key, "{}"))
			got := conn.answer()
			require.Equal(w, status, got.status)
			require.Empty(w, got.body)
		}
		require.Zero(w, conn.in.Buffered(), "more than two answers came")
	}
	route.ran(2)
}

func trailersAreNotSentHoweverAnnounced(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set(http.TrailerPrefix+"Early", "1")
		writer.Header().Set("trailer", "Checksum")
		_, _ = writer.Write([]byte("paid"))
		writer.Header().Set("Checksum", "1")
		writer.Header().Set(http.TrailerPrefix+"Late", "1")
	})
	server := w.serve(route)
	var first answer
	for i := range 2 {
		conn := server.dial()
		conn.send(payment("k", "{}"))
		got := conn.answer()
		if i == 0 {
			first = got
			first.is(http.StatusOK, "paid")
		} else {
			got.replays(first)
		}
		require.Equal(w, []string{"4"}, conn.lines("Content-Length"), "with trailers there is none")
		require.NotContains(w, conn.seen.String(), "Early")
		require.NotContains(w, conn.seen.String(), "Late")
		require.NotContains(w, conn.seen.String(), "Checksum")
	}
	route.ran(1)
}
