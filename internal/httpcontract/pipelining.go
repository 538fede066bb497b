package httpcontract

import (
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var pipeliningTests = []test{
	{"duplicates in one segment are one execution", duplicatesInOneSegmentAreOneExecution},
	{"what is pipelined is answered in its order", whatIsPipelinedIsAnsweredInOrder},
	{"the body of what was refused is no request", theBodyOfWhatWasRefusedIsNoRequest},
}

func duplicatesInOneSegmentAreOneExecution(w *world) {
	w.needs(Pipelining)
	for name, one := range map[string]string{
		"with a length":  payment("k-length", `{"amount":1}`),
		"in chunks":      framed("k-chunks", chunked(`{"amount":1}`, 5, ";x=y", "Checksum: a"), inChunks),
		"without a body": payment("k-none", ""),
	} {
		for _, times := range []int{2, 10} {
			w.each(name, func(w *world) {
				route := w.route(w.answers(http.StatusCreated))
				conn := w.serve(route).dial()
				text := strings.ReplaceAll(one, "k-", w.key()+"-")
				conn.send(strings.Repeat(text, times))
				first := conn.answer()
				first.is(http.StatusCreated, "payment 1\x00\xff")
				for range times - 1 {
					conn.answer().replays(first)
				}
				route.ran(1)
				conn.send(payment(w.key(), "{}"))
				conn.answer().is(http.StatusCreated, "payment 2\x00\xff")
				require.Zero(w, conn.in.Buffered())
				route.ran(1)
			})
		}
	}
}

func whatIsPipelinedIsAnsweredInOrder(w *world) {
	w.needs(Pipelining)
	route := w.route(w.answers(http.StatusCreated))
	server := w.serve(route)
	conn := server.dial()
	conn.send(payment("k1", "{}") + payment("k1", "other") + payment("a,b", "{}") + payment("k2", "{}") + payment("", "{}") +
		framed("k1", chunked("{}", 1, ""), inChunks) + payment("k2", "{}"))
	k1 := conn.answer()
	k1.is(http.StatusCreated, "payment 1\x00\xff")
	conn.answer().problem(idempotency.CodeKeyReused)
	conn.answer().problem(idempotency.CodeKeyInvalid)
	k2 := conn.answer()
	k2.is(http.StatusCreated, "payment 2\x00\xff")
	conn.answer().problem(idempotency.CodeKeyMissing)
	conn.answer().replays(k1)
	conn.answer().replays(k2)
	route.ran(2)
	w.hasEffects(2)
}

// Where an answer does not wait for the body, the server must throw that away, or the connection.
func theBodyOfWhatWasRefusedIsNoRequest(w *world) {
	smuggled := payment("smuggled", "{}")
	for name, refused := range map[string]string{
		"a bad key":              payment("a,b", smuggled),
		"a bad key in chunks":    framed("a,b", chunked(smuggled, len(smuggled), ""), inChunks),
		"no key":                 payment("", smuggled),
		"too large":              payment("k", strings.Repeat(smuggled, 100)),
		"too large in chunks":    framed("k", chunked(strings.Repeat(smuggled, 100), len(smuggled), ""), inChunks),
		"not asked for":          payment("k", smuggled, "Expect: 100-continue"),
		"framed in two ways":     framed("k", "0\r\n\r\n", "Content-Length: 500", inChunks),
		"framed badly":           framed("k", "zz\r\n"+smuggled, inChunks),
		"an unknown expectation": payment("k", smuggled, "Expect: a-receipt"),
	} {
		w.each(name, func(w *world) {
			route := w.route(func(_ http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Idempotency-Key") == "smuggled" {
					w.Error("the body of a request ran as a request")
				}
			}, func(_ *idempotency.Config, c *Config) { c.MaxRequestBytes = 100 })
			conn := w.serve(route).dial()
			conn.send(refused)
			_ = conn.CloseWrite() // the server may have closed the connection already
			for answers := 1; ; answers++ {
				if _, err := conn.in.Peek(1); err != nil {
					require.NotZero(w, answers)
					break
				}
				require.Equal(w, 1, answers, "one request had more than one answer")
				if conn.answer().status == http.StatusContinue {
					answers--
				}
			}
			route.runs.Store(0)
		})
	}
}
