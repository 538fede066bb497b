package httpcontract

import (
	"net/http"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var targetTests = []test{
	{"a target is the same as it is spelled, whoever is asked", aTargetIsTheSameAsItIsSpelled},
	{"a target without a path is no other one's", aTargetWithoutAPathIsNoOtherOnes},
	{"methods that read pass through whatever comes with them", methodsThatReadPassThrough},
}

// Spelled otherwise it may lead elsewhere: routers and file systems do not agree on what "//" or "%2e" is. So it is refused, and
// never taken for the same; the retry of a client is spelled as its first request was.
func aTargetIsTheSameAsItIsSpelled(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route)
	ask := func(w *world, target string, lines ...string) answer {
		w.Helper()
		return server.in(w).talk(to(target, "k", "{}", append(lines, "Content-Length: 2")...))
	}
	first := ask(w, "/payments?a=1&b=2")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	for _, target := range []string{
		"/payments?a=1&b=2", "http://test/payments?a=1&b=2", "http://other.test:99/payments?a=1&b=2", "HTTPS://user@test/payments?a=1&b=2",
	} {
		w.each("the same "+target, func(w *world) { ask(w, target).replays(first) })
	}
	for _, target := range []string{
		"/payments", "/payments?", "/payments?b=2&a=1", "/payments?a=1&b=2&", "/payments?&a=1&b=2", "/payments?a=1&b=%32", "/payments?a=1;b=2",
		"/payments?a=1&a=1&b=2", "/payments?A=1&b=2", "/payments?a=1&b=2#c", "/payments?a=1&b=2%00", "/payments?a=1&b=2?",
		"//payments?a=1&b=2", "/payments/?a=1&b=2", "/payments/.?a=1&b=2", "/payments/%2e?a=1&b=2", "/payments/%2E?a=1&b=2", "/./payments?a=1&b=2",
		"/x/../payments?a=1&b=2", "/x/%2e%2e/payments?a=1&b=2", "/%70ayments?a=1&b=2", "/%2fpayments?a=1&b=2", "/payments%2f?a=1&b=2",
		"/Payments?a=1&b=2", "/payments;v=1?a=1&b=2", "/payments%3fa=1&b=2", "/payments%00?a=1&b=2", "/payments%20?a=1&b=2", "/payments\xff?a=1&b=2",
		"http://test//payments?a=1&b=2", "/test/payments?a=1&b=2", "/?/payments?a=1&b=2",
	} {
		w.each("another "+target, func(w *world) { ask(w, target).problem(idempotency.CodeKeyReused) })
	}
	for _, target := range []string{"payments", "/payments%zz", "/pay ments", "http://te st/payments", "/payments\x00", "://"} {
		w.each("none "+target, func(w *world) {
			got := ask(w, target)
			require.Equal(w, http.StatusBadRequest, got.status, got.body)
		})
	}
	route.ran(1)
	w.hasRecords(1)
}

func aTargetWithoutAPathIsNoOtherOnes(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route)
	ask := func(target string) answer { return server.talk(to(target, "k", "{}", "Content-Length: 2")) }
	first := ask("/payments")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	for _, target := range []string{"*", "http://test", "http://test?/payments"} {
		if got := ask(target); got.status != http.StatusNotFound { // the framework's router may know no such place
			got.problem(idempotency.CodeKeyReused)
		}
	}
	ask("/payments").replays(first)
	route.ran(1)
}

func methodsThatReadPassThrough(w *world) {
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(writer).Flush()
		_, _ = writer.Write([]byte(r.Method))
	})
	server := w.serve(route)
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "post", "Post", "PROPFIND"} {
		for _, lines := range [][]string{nil, {"Idempotency-Key: k"}, {"Idempotency-Key: a,b"}} {
			text := strings.Replace(payment("", "{}", lines...), "POST", method, 1)
			conn := server.dial()
			conn.send(text)
			response, err := http.ReadResponse(conn.in, &http.Request{Method: method})
			require.NoError(w, err)
			got := read(w, response)
			unknown := []int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented}
			if slices.Contains(unknown, got.status) && !strings.Contains("GET HEAD OPTIONS PUT DELETE", method) {
				route.runs.Add(1) // the framework's router does not know it
				continue
			}
			require.Equal(w, http.StatusOK, got.status, "%s %s", method, got.body)
			require.Empty(w, got.header.Values("Idempotent-Replayed"))
		}
		route.ran(3)
	}
	w.hasRecords(0)
}
