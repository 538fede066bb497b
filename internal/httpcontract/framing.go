package httpcontract

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var framingTests = []test{
	{"the same bytes in any chunks are the same request", theSameBytesInAnyChunksAreTheSameRequest},
	{"trailers reach the handler and tell no requests apart", trailersReachTheHandler},
	{"a key in the trailers is none", aKeyInTheTrailersIsNone},
	{"what is framed badly runs nothing", whatIsFramedBadlyRunsNothing},
	{"a body that is sent in two ways at once is the chunked one", aBodyInTwoWaysIsTheChunkedOne},
	{"a key that the server folds or forbids is one key or none", aKeyThatIsFoldedIsOneKeyOrNone},
	{"a header that is huge runs nothing", aHeaderThatIsHugeRunsNothing},
	{"HTTP 1.0 is the same request", http10IsTheSameRequest},
	{"a body is not asked for where nobody wants it", aBodyIsNotAskedForWhereNobodyWantsIt},
	{"an expectation that nobody knows runs nothing", anUnknownExpectationRunsNothing},
}

const inChunks = "Transfer-Encoding: chunked"

func theSameBytesInAnyChunksAreTheSameRequest(w *world) {
	route := w.route(echoes)
	server := w.serve(route)
	body := `{"amount":1,"note":"` + strings.Repeat("caf\xc3\xa9\x00\r\n", 100) + `"}`
	first := server.talk(framed("k", chunked(body, 1, ""), inChunks))
	first.is(http.StatusCreated, fmt.Sprintf("%d []  %s", len(body), body))
	for name, text := range map[string]string{
		"a length":         payment("k", body),
		"two equal ones":   payment("k", body, fmt.Sprint("Content-Length: ", len(body))),
		"odd sizes":        framed("k", chunked(body, 7, ""), inChunks),
		"one chunk":        framed("k", chunked(body, len(body), ""), inChunks),
		"extensions":       framed("k", chunked(body, 100, `;name=value;quoted="a b"`), inChunks),
		"blanks":           framed("k", chunked(body, 100, " "), inChunks),
		"trailers":         framed("k", chunked(body, 100, "", "Checksum: abc"), inChunks),
		"in other letters": framed("k", strings.ToUpper(fmt.Sprintf("%04x", len(body)))+"\r\n"+body+"\r\n00\r\n\r\n", "transfer-encoding: CHUNKED"),
	} {
		w.each(name, func(w *world) {
			if name == "two equal ones" {
				w.needs(EqualLengths)
			}
			server.in(w).talk(text).replays(first)
		})
	}
	server.talk(framed("k", chunked(body[1:], 7, ""), inChunks)).problem(idempotency.CodeKeyReused)
	route.ran(1)
}

// A proxy may drop trailers, and a client that retries may add them up anew: what tells requests apart has come by then.
func trailersReachTheHandler(w *world) {
	route := w.route(echoes)
	server := w.serve(route)
	for name, lines := range map[string][]string{"announced": {inChunks, "Trailer: Checksum"}, "not announced": {inChunks}} {
		w.each(name, func(w *world) {
			if name == "not announced" {
				w.needs(LateTrailers)
			}
			key, server := w.key(), server.in(w)
			first := server.talk(framed(key, chunked("{}", 1, "", "Checksum: abc"), lines...))
			first.is(http.StatusCreated, "2 [] abc {}")
			server.talk(framed(key, chunked("{}", 1, "", "Checksum: xyz"), lines...)).replays(first)
			server.talk(payment(key, "{}")).replays(first)
			route.ran(1)
		})
	}
}

func aKeyInTheTrailersIsNone(w *world) {
	route := w.route(echoes)
	server := w.serve(route)
	for _, lines := range [][]string{{inChunks, "Trailer: Idempotency-Key"}, {inChunks}} {
		server.talk(framed("", chunked("{}", 2, "", "Idempotency-Key: k"), lines...)).problem(idempotency.CodeKeyMissing)
		server.talk(framed("", chunked("", 2, "", "Idempotency-Key: k"), lines...)).problem(idempotency.CodeKeyMissing)
		first := server.talk(framed("k", "2\r\n{}\r\n0\r\nIdempotency-Key: other\r\n\r\n", lines...))
		first.header.Del("Idempotent-Replayed")
		server.talk(payment("k", "{}")).replays(first)
	}
	route.ran(1)
}

func whatIsFramedBadlyRunsNothing(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route)
	// Ours is what the middleware answers; otherwise the server did, before there was a request.
	const ours = idempotency.CodeRequestUnreadable
	late := w.can(LateBodies)
	long := strings.Repeat("x", 20_000)
	lenient := []string{ // to a server that reads what can be understood
		"an extension without an end", "half a trailer", "no end after the last chunk", "chunks twice", "chunks, and a length that is none",
		"a blank before a colon", "two hosts",
	}
	for _, tt := range []struct {
		name, text string
		code       idempotency.Code
	}{
		{"a size that is no number", framed("k", "zz\r\n{}\r\n0\r\n\r\n", inChunks), ours},
		{"a size below none", framed("k", "-2\r\n{}\r\n0\r\n\r\n", inChunks), ours},
		{"a size beyond all", framed("k", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n", inChunks), ours},
		{"a chunk longer than its size", framed("k", "1\r\n{}\r\n0\r\n\r\n", inChunks), ours},
		{"a chunk shorter than its size", framed("k", "3\r\n{}\r\n0\r\n\r\n", inChunks), ours},
		{"an extension without an end", framed("k", "2;"+long+"\r\n{}\r\n0\r\n\r\n", inChunks), ours},
		{"no last chunk", framed("k", "2\r\n{}\r\n", inChunks), ours},
		{"half a size", framed("k", "2\r\n{}\r\n1", inChunks), ours},
		{"half a chunk", framed("k", "a\r\n{}", inChunks), ours},
		{"half a trailer", framed("k", "2\r\n{}\r\n0\r\nChecksum: a", inChunks), ours},
		{"no end after the last chunk", framed("k", "2\r\n{}\r\n0\r\n", inChunks), ours},
		{"a length that lies", framed("k", "{}", "Content-Length: 3"), ours},
		{"two lengths", framed("k", "{}", "Content-Length: 2", "Content-Length: 3"), ""},
		{"a list of lengths", framed("k", "{}", "Content-Length: 2, 2"), ""},
		{"a length below none", framed("k", "{}", "Content-Length: -2"), ""},
		{"a length with a sign", framed("k", "{}", "Content-Length: +2"), ""},
		{"an encoding that nobody undoes", framed("k", "2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: gzip, chunked"), ""},
		{"an encoding without chunks", framed("k", "{}", "Transfer-Encoding: gzip"), ""},
		{"chunks twice", framed("k", chunked("{}", 2, ""), inChunks, inChunks), ""},
		{"chunks, and a length that is none", framed("k", chunked("{}", 2, ""), inChunks, "Content-Length: two"), ""},
		{"a trailer that would frame", framed("k", chunked("{}", 2, ""), inChunks, "Trailer: Content-Length"), ""},
		{"a blank before a colon", payment("k", "{}", "Content-Type : text/plain"), ""},
		{"NUL in a header", payment("k", "{}", "X-A: a\x00b"), ""},
		{"two hosts", payment("k", "{}", "Host: other"), ""},
		{"a method that is none", strings.Replace(payment("k", "{}"), "POST", "P@ST", 1), ""},
		{"a version that is none", strings.Replace(payment("k", "{}"), "HTTP/1.1", "HTTP/1.x", 1), ""},
	} {
		w.each(tt.name, func(w *world) {
			if slices.Contains(lenient, tt.name) {
				w.needs(Strictness)
			}
			conn := server.in(w).dial()
			conn.send(tt.text)
			_ = conn.CloseWrite() // the server may have closed the connection already
			if _, err := conn.in.Peek(1); !late && err != nil {
				require.ErrorIs(w, err, io.EOF) // and no answer
				return
			}
			got := conn.answer()
			if tt.code != "" && late {
				got.problem(tt.code)
			} else {
				require.GreaterOrEqual(w, got.status, 400, got.body)
				require.NotEqual(w, "application/problem+json", got.header.Get("Content-Type"))
			}
			require.Empty(w, conn.ends(), "something else was answered too")
		})
	}
	route.ran(0)
	w.hasRecords(0)
	server.talk(payment("k", "{}")).is(http.StatusCreated, `{"status":"answered"}`)
}

// The server takes the length off such a request (RFC 9112, section 6.3), so that nothing behind it can disagree with the digest.
func aBodyInTwoWaysIsTheChunkedOne(w *world) {
	route := w.route(echoes)
	server := w.serve(route)
	first := server.talk(framed("k", chunked("{}", 1, ""), "Content-Length: 99", inChunks))
	first.is(http.StatusCreated, "2 []  {}")
	server.talk(framed("k", chunked("{}", 2, ""), inChunks, "Content-Length: 1")).replays(first)
	server.talk(payment("k", "{}")).replays(first)
	route.ran(1)
}

func aKeyThatIsFoldedIsOneKeyOrNone(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route)
	first := server.talk(payment("k", "{}"))
	first.is(http.StatusCreated, `{"status":"answered"}`)
	for _, line := range []string{"Idempotency-Key:\r\n k", "Idempotency-Key: k\r\n\t", "iDEMPOTENCY-kEY:k", "Idempotency-Key: \t\"k\" \t"} {
		server.talk(payment("", "{}", line)).replays(first)
	}
	for _, line := range []string{"Idempotency-Key: k\r\n k", "Idempotency-Key: k\r\nIdempotency-Key: k", "Idempotency-Key: k\xff", "Idempotency-Key:", "Idempotency-Key: k, k"} {
		server.talk(payment("", "{}", line)).problem(idempotency.CodeKeyInvalid)
	}
	for _, line := range []string{"Idempotency-Key: k\x00", "Idempotency-Key: k\rX: y", "Idempotency-Key : k", "Idempotency Key: k"} {
		require.Equal(w, http.StatusBadRequest, server.talk(payment("", "{}", line)).status)
	}
	route.ran(1)
	w.hasRecords(1)
}

func aHeaderThatIsHugeRunsNothing(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route)
	for name, lines := range map[string]string{
		"one":  "X-A: " + strings.Repeat("x", 1100<<10),
		"many": strings.Repeat("X-A: x\r\n", 140_000) + "X-B: x",
	} {
		w.each(name, func(w *world) {
			conn := server.in(w).dial()
			written := make(chan struct{})
			go func() { // the server does not read all of it
				defer close(written)
				_, _ = io.WriteString(conn.TCPConn, payment("k", "{}", lines))
			}()
			require.Equal(w, http.StatusRequestHeaderFieldsTooLarge, conn.answer().status)
			_ = conn.Close()
			within(w, written)
		})
	}
	route.ran(0)
	server.talk(payment("k", "{}", "X-A: "+strings.Repeat("x", 500<<10))).is(http.StatusCreated, `{"status":"answered"}`)
	route.ran(1)
}

func http10IsTheSameRequest(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route)
	old := strings.Replace(payment("k", "{}"), "HTTP/1.1", "HTTP/1.0", 1)
	conn := server.dial()
	conn.send(old)
	first := conn.answer()
	first.is(http.StatusCreated, `{"status":"answered"}`)
	require.Empty(w, conn.ends())
	require.Equal(w, []string{fmt.Sprint(len(first.body))}, conn.lines("Content-Length"))
	require.Empty(w, conn.lines("Transfer-Encoding"))

	server.talk(payment("k", "{}")).replays(first)
	conn = server.dial()
	conn.send(strings.Replace(old, "Host: test\r\n", "Connection: keep-alive\r\n", 1) + old)
	for range 2 {
		conn.answer().replays(first)
	}
	require.Empty(w, conn.ends())
	server.talk(strings.Replace(payment("k", "{ }"), "HTTP/1.1", "HTTP/1.0", 1)).problem(idempotency.CodeKeyReused)
	route.ran(1)
}

// A client that asks first is told before it has sent what would be thrown away.
func aBodyIsNotAskedForWhereNobodyWantsIt(w *world) {
	w.needs(LateBodies)
	route := w.route(echoes, bothHeaders, func(_ *idempotency.Config, c *Config) {
		c.MaxRequestBytes = 10
		c.Scope = func(r *http.Request) (string, error) { return r.Header.Get("Account"), nil }
	})
	server := w.serve(route)
	const asks = "Expect: 100-continue"
	for name, tt := range map[string]struct {
		text string
		code idempotency.Code
	}{
		"no key":       {framed("", "", asks, "Account: alice", "Content-Length: 2"), idempotency.CodeKeyMissing},
		"two keys":     {framed("k", "", asks, "Account: alice", "X-Idempotency-Key: k", inChunks), idempotency.CodeKeyInvalid},
		"no account":   {framed("k", "", asks, "Content-Length: 2"), idempotency.CodeScopeMissing},
		"a large body": {framed("k", "", asks, "Account: alice", "Content-Length: 11"), idempotency.CodeRequestTooLarge},
		"one of two expectations": {framed("k", "", "Expect: 100-continue, 100-continue", "Account: alice", "Content-Length: 11"),
			idempotency.CodeRequestTooLarge},
	} {
		w.each(name, func(w *world) {
			conn := server.in(w).dial()
			conn.send(tt.text)
			conn.answer().problem(tt.code) // and no 100 before it
			require.NoError(w, conn.CloseWrite())
			require.Empty(w, conn.ends())
		})
	}
	// What is not known before it comes is asked for, and refused then.
	conn := server.dial()
	conn.send(framed("k", "", asks, "Account: alice", inChunks))
	require.Equal(w, http.StatusContinue, conn.answer().status)
	conn.send(chunked("0123456789a", 1, ""))
	conn.answer().problem(idempotency.CodeRequestTooLarge)
	route.ran(0)
	w.hasRecords(0)
}

func anUnknownExpectationRunsNothing(w *world) {
	w.needs(Strictness)
	route := w.route(echoes)
	server := w.serve(route)
	assert.Equal(w, http.StatusExpectationFailed, server.talk(payment("k", "{}", "Expect: a-receipt")).status)
	route.ran(0)
	w.hasRecords(0)
}
