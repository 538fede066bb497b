package httpcontract

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var encodingTests = []test{
	{"a body that is decompressed outside is compared as it was meant", aBodyThatIsDecompressedOutside},
	{"a body that the handler decompresses is compared as it was sent", aBodyThatTheHandlerDecompresses},
	{"a body that grows over the limit when it is decompressed is refused", aBodyThatGrowsOverTheLimit},
	{"a middleware outside compresses for each client anew", aMiddlewareOutsideCompressesAnew},
	{"what was compressed inside is replayed as it is", whatWasCompressedInsideIsReplayedAsItIs},
	{"what was compressed inside is not compressed again outside", whatWasCompressedIsNotCompressedAgain},
}

func zipped(w *world, text string, level int) string {
	w.Helper()
	var b bytes.Buffer
	to, err := gzip.NewWriterLevel(&b, level)
	require.NoError(w, err)
	_, err = io.WriteString(to, text)
	require.NoError(w, err)
	require.NoError(w, to.Close())
	return b.String()
}

func unzipped(w *world, text string) string {
	w.Helper()
	from, err := gzip.NewReader(strings.NewReader(text))
	require.NoError(w, err)
	got, err := io.ReadAll(from)
	require.NoError(w, err)
	return string(got)
}

// unzipping is what middleware does with a request that is compressed: the body is another one, of a length that nobody knows.
func unzipping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Encoding") == "gzip" {
			from, err := gzip.NewReader(r.Body)
			if err != nil {
				http.Error(writer, "not gzip", http.StatusBadRequest)
				return
			}
			r.Header.Del("Content-Encoding")
			r.Body, r.ContentLength = from, -1
		}
		next.ServeHTTP(writer, r)
	})
}

const gzipEncoded = "Content-Encoding: gzip"

func aBodyThatIsDecompressedOutside(w *world) {
	route := w.route(echoes)
	server := w.serve(unzipping(route))
	body := `{"amount":1,"note":"` + strings.Repeat("thanks ", 1000) + `"}`
	fast, best := zipped(w, body, gzip.BestSpeed), zipped(w, body, gzip.BestCompression)
	require.NotEqual(w, fast, best)
	first := server.talk(payment("k", fast, gzipEncoded))
	first.is(http.StatusCreated, fmt.Sprintf("%d []  %s", len(body), body))
	server.talk(payment("k", fast, gzipEncoded)).replays(first)
	server.talk(payment("k", best, gzipEncoded)).replays(first)
	server.talk(payment("k", body)).replays(first)
	server.talk(framed("k", chunked(best, 7, ""), gzipEncoded, inChunks)).replays(first)
	server.talk(payment("k", zipped(w, "{}", gzip.BestSpeed), gzipEncoded)).problem(idempotency.CodeKeyReused)
	server.talk(payment("k2", fast[:len(fast)-1], gzipEncoded)).problem(idempotency.CodeRequestUnreadable)
	server.talk(payment("k2", fast[:len(fast)-8]+"checksum", gzipEncoded)).problem(idempotency.CodeRequestUnreadable)
	route.ran(1)
	w.hasRecords(1)
}

func aBodyThatTheHandlerDecompresses(w *world) {
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		assert.Equal(w, "gzip", r.Header.Get("Content-Encoding"))
		unzipping(http.HandlerFunc(echoes)).ServeHTTP(writer, r)
	})
	server := w.serve(route)
	body := strings.Repeat("thanks ", 1000)
	fast, best := zipped(w, body, gzip.BestSpeed), zipped(w, body, gzip.BestCompression)
	first := server.talk(payment("k", fast, gzipEncoded))
	first.is(http.StatusCreated, "-1 []  "+body)
	server.talk(payment("k", fast, gzipEncoded)).replays(first)
	server.talk(framed("k", chunked(fast, 7, ""), gzipEncoded, inChunks)).replays(first)
	server.talk(payment("k", best, gzipEncoded)).problem(idempotency.CodeKeyReused)
	route.ran(1)
}

func aBodyThatGrowsOverTheLimit(w *world) {
	route := w.route(echoes)
	server := w.serve(unzipping(route))
	bomb := zipped(w, strings.Repeat("\x00", 3<<20), gzip.BestSpeed)
	require.Less(w, len(bomb), 100<<10)
	server.talk(payment("k", bomb, gzipEncoded)).problem(idempotency.CodeRequestTooLarge)
	server.talk(payment("k", zipped(w, strings.Repeat("x", 1<<20+1), gzip.BestSpeed), gzipEncoded)).problem(idempotency.CodeRequestTooLarge)
	route.ran(0)
	w.hasRecords(0)
}

// zipping is what middleware does that compresses: where the client takes it, what is not compressed yet, and it says that the
// answer depends on that.
func zipping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		writer.Header().Add("Vary", "Accept-Encoding")
		if r.Header.Get("Accept-Encoding") != "gzip" {
			next.ServeHTTP(writer, r)
			return
		}
		z := &zipper{ResponseWriter: writer}
		next.ServeHTTP(z, r)
		if z.to != nil {
			_ = z.to.Close()
		}
	})
}

type zipper struct {
	http.ResponseWriter
	to      *gzip.Writer
	decided bool
}

func (z *zipper) Unwrap() http.ResponseWriter { return z.ResponseWriter }

func (z *zipper) WriteHeader(status int) {
	if header := z.Header(); !z.decided && header.Get("Content-Encoding") == "" {
		header.Set("Content-Encoding", "gzip")
		header.Del("Content-Length")
		z.to = gzip.NewWriter(z.ResponseWriter)
	}
	z.decided = true
	z.ResponseWriter.WriteHeader(status)
}

func (z *zipper) Write(b []byte) (int, error) {
	if !z.decided {
		z.WriteHeader(http.StatusOK)
	}
	if z.to != nil {
		return z.to.Write(b)
	}
	return z.ResponseWriter.Write(b)
}

// says is a handler that answers with text, and says how long that is.
func says(text string) http.HandlerFunc {
	return func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Content-Type", "text/plain")
		writer.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = io.WriteString(writer, text)
	}
}

const takesGzip = "Accept-Encoding: gzip"

func aMiddlewareOutsideCompressesAnew(w *world) {
	body := strings.Repeat("paid ", 10_000)
	route := w.route(says(body))
	server := w.serve(zipping(route))
	for i, first := range []string{takesGzip, "Accept-Encoding: identity"} {
		key := w.key()
		for j, lines := range [][]string{{first}, {takesGzip}, nil, {"Accept-Encoding: identity"}, {takesGzip}} {
			conn := server.dial()
			conn.send(payment(key, "{}", lines...))
			got := conn.answer()
			encodings, text := []string(nil), got.body
			if len(lines) > 0 && lines[0] == takesGzip {
				encodings, text = []string{"gzip"}, unzipped(w, got.body)
			}
			require.Equal(w, body, text, "%d %d", i, j)
			require.Equal(w, encodings, conn.lines("Content-Encoding"))
			require.Equal(w, []string{"Accept-Encoding"}, conn.lines("Vary"))
			require.LessOrEqual(w, len(conn.lines("Content-Length"))+len(conn.lines("Transfer-Encoding")), 1)
			require.Equal(w, j > 0, got.header.Get("Idempotent-Replayed") == "true")
		}
	}
	route.ran(2)
}

// The bytes were chosen when the handler ran, and a replay is those bytes, with what says how to read them: it does not depend on
// what the retry accepts, and so it does not say that it does. Who would have it depend lists Accept-Encoding as part of the request.
func whatWasCompressedInsideIsReplayedAsItIs(w *world) {
	body := strings.Repeat("paid ", 10_000)
	handler := zipping(says(body)).ServeHTTP
	route := w.route(handler)
	server := w.serve(route)
	for _, accepted := range []string{"gzip", "identity"} {
		key := w.key()
		conn := server.dial()
		conn.send(payment(key, "{}", "Accept-Encoding: "+accepted))
		first := conn.answer()
		require.Equal(w, []string{"Accept-Encoding"}, conn.lines("Vary"))
		if accepted == "gzip" {
			require.Equal(w, body, unzipped(w, first.body))
		} else {
			require.Equal(w, body, first.body)
		}
		for _, lines := range [][]string{nil, {takesGzip}, {"Accept-Encoding: identity"}, {"Accept-Encoding: gzip;q=0, *;q=0"}} {
			again := server.dial()
			again.send(payment(key, "{}", lines...))
			again.answer().replays(first)
			require.Equal(w, conn.lines("Content-Encoding"), again.lines("Content-Encoding"))
			require.Equal(w, conn.lines("Content-Length"), again.lines("Content-Length"))
			require.LessOrEqual(w, len(again.lines("Content-Length"))+len(again.lines("Transfer-Encoding")), 1)
			require.Empty(w, again.lines("Vary"))
		}
	}
	route.ran(2)

	strict := w.route(handler, func(_ *idempotency.Config, c *Config) { c.FingerprintHeaders = []string{"Accept-Encoding"} })
	server = w.serve(strict)
	server.talk(payment("strict", "{}", takesGzip))
	server.talk(payment("strict", "{}")).problem(idempotency.CodeKeyReused)
	strict.ran(1)
}

func whatWasCompressedIsNotCompressedAgain(w *world) {
	body := strings.Repeat("paid ", 10_000)
	route := w.route(zipping(says(body)).ServeHTTP)
	server := w.serve(zipping(route))
	for range 3 {
		conn := server.dial()
		conn.send(payment("k", "{}", takesGzip))
		require.Equal(w, body, unzipped(w, conn.answer().body))
		require.Equal(w, []string{"gzip"}, conn.lines("Content-Encoding"))
		require.LessOrEqual(w, len(conn.lines("Content-Length"))+len(conn.lines("Transfer-Encoding")), 1)
	}
	route.ran(1)
}
