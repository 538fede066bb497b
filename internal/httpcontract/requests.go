package httpcontract

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var requestTests = []test{
	{"a body that ends early is not processed", aBodyThatEndsEarlyIsNotProcessed},
	{"a body may be as large as the limit and no larger", aBodyMayBeAsLargeAsTheLimit},
	{"a body far over the limit is answered, not reset", aBodyFarOverTheLimitIsAnswered},
	{"the limit of an outer middleware is a limit", theLimitOfAnOuterMiddlewareIsALimit},
	{"a body that was read already is not taken for none", aBodyThatWasReadAlreadyIsRefused},
	{"one handler at two places is two operations", oneHandlerAtTwoPlacesIsTwoOperations},
	{"how a body is framed does not matter", howABodyIsFramedDoesNotMatter},
	{"a body is asked for only with a good key", aBodyIsAskedForOnlyWithAGoodKey},
	{"a body that is too large is not asked for", aBodyThatIsTooLargeIsNotAskedFor},
	{"a handler need not read the body", aHandlerNeedNotReadTheBody},
	{"another request with the same key is refused", anotherRequestWithTheSameKeyIsRefused},
	{"the host is part of the request where it is chosen", theHostIsPartOfTheRequestWhereItIsChosen},
	{"the same request in other clothes is a replay", theSameRequestInOtherClothesIsAReplay},
	{"other methods pass through", otherMethodsPassThrough},
	{"a method that no request has is refused", aMethodThatNoRequestHasIsRefused},
}

// echoes answers with what the handler sees of the request's body.
func echoes(writer http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	writer.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(writer, "%d %v %s %s", r.ContentLength, r.TransferEncoding, r.Trailer.Get("Checksum"), body)
}

func aBodyThatEndsEarlyIsNotProcessed(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	request := post("k", "")
	request.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"amount":`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	request.ContentLength = -1
	route.send(request).problem(idempotency.CodeRequestUnreadable)

	server := w.serve(route)
	late := w.can(LateBodies)
	for name, rest := range map[string]string{
		"Content-Length: 100":        `{"amount":`,
		"Transfer-Encoding: chunked": "a\r\n{\"amount\":\r\n",
	} {
		conn := server.dial()
		conn.write([]string{"POST /payments HTTP/1.1", "Host: test", "Idempotency-Key: k", name}, rest)
		require.NoError(w, conn.CloseWrite())
		if late {
			conn.answer().problem(idempotency.CodeRequestUnreadable)
		} else {
			require.NotContains(w, conn.ends(), "answered")
		}
	}
	route.ran(0)
	w.hasRecords(0)
	route.post("k", "{}").is(http.StatusCreated, `{"status":"answered"}`)
}

func aBodyMayBeAsLargeAsTheLimit(w *world) {
	for _, tt := range []struct {
		name       string
		set, limit int
	}{
		{"by default", 0, 1 << 20},
		{"as configured", 10, 10},
		{"over a buffer", 5000, 5000},
	} {
		w.each(tt.name, func(w *world) {
			route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.MaxRequestBytes = tt.set })
			for _, length := range []int64{-1, int64(tt.limit)} {
				exact := post(w.key(), strings.Repeat("x", tt.limit))
				exact.ContentLength = length
				route.send(exact).is(http.StatusCreated, `{"status":"answered"}`)
				route.ran(1)

				over := post(w.key(), strings.Repeat("x", tt.limit+1))
				over.ContentLength = length
				if length > 0 {
					over.ContentLength++
				}
				route.send(over).problem(idempotency.CodeRequestTooLarge)
				route.ran(0)
			}
		})
	}
	_, err := w.mount(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.MaxRequestBytes = -1 })
	require.ErrorContains(w, err, "MaxRequestBytes")
}

func aBodyFarOverTheLimitIsAnswered(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route)
	body := bytes.Repeat([]byte("x"), 8<<20)
	server.send(server.request("k", bytes.NewReader(body))).problem(idempotency.CodeRequestTooLarge)
	server.send(server.request("k", io.MultiReader(bytes.NewReader(body)))).problem(idempotency.CodeRequestTooLarge)

	// This one listens only when it has said everything: if the connection were closed before, it would be reset.
	conn := server.dial()
	conn.write([]string{"POST /payments HTTP/1.1", "Host: test", "Idempotency-Key: k", fmt.Sprint("Content-Length: ", len(body))}, string(body))
	conn.answer().problem(idempotency.CodeRequestTooLarge)
	route.ran(0)
}

func theLimitOfAnOuterMiddlewareIsALimit(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	request := post("k", "0123456789")
	request.Body = http.MaxBytesReader(nil, request.Body, 9)
	route.send(request).problem(idempotency.CodeRequestTooLarge)
	route.ran(0)
}

func howABodyIsFramedDoesNotMatter(w *world) {
	route := w.route(echoes)
	server := w.serve(route)
	first := server.post("k", `{"amount":1}`)
	first.is(http.StatusCreated, `12 []  {"amount":1}`)
	server.send(server.request("k", io.MultiReader(strings.NewReader(`{"amount":1}`)))).replays(first)
	route.ran(1)

	chunked := func(key, trailer string) answer {
		request := server.request(key, io.MultiReader(strings.NewReader(`{"amount":1}`)))
		request.Trailer = http.Header{"Checksum": {trailer}}
		return server.send(request)
	}
	chunked("k", "abc").replays(first)
	first = chunked("trailers", "abc")
	first.is(http.StatusCreated, `12 [] abc {"amount":1}`)
	chunked("trailers", "abc").replays(first)
	route.ran(1)
}

func aBodyIsAskedForOnlyWithAGoodKey(w *world) {
	w.needs(LateBodies)
	server := w.serve(w.route(echoes))
	ask := func(key string) *wire {
		conn := server.dial()
		conn.write([]string{"POST /payments HTTP/1.1", "Host: test", "Idempotency-Key: " + key, "Content-Length: 2", "Expect: 100-continue"}, "")
		return conn
	}
	for key, code := range map[string]idempotency.Code{"a,b": idempotency.CodeKeyInvalid, "": idempotency.CodeKeyInvalid} {
		ask(key).answer().problem(code)
	}
	var first answer
	for i := range 2 {
		conn := ask("k")
		line, err := conn.in.ReadString('\n')
		require.NoError(w, err)
		require.Equal(w, "HTTP/1.1 100 Continue\r\n", line)
		_, err = conn.in.ReadString('\n')
		require.NoError(w, err)
		_, err = io.WriteString(conn, "{}")
		require.NoError(w, err)
		if i == 0 {
			first = conn.answer()
			first.is(http.StatusCreated, "2 []  {}")
		} else {
			conn.answer().replays(first)
		}
	}
}

func aBodyThatIsTooLargeIsNotAskedFor(w *world) {
	w.needs(LateBodies)
	route := w.route(echoes, func(_ *idempotency.Config, c *Config) { c.MaxRequestBytes = 10 })
	conn := w.serve(route).dial()
	conn.write([]string{"POST /payments HTTP/1.1", "Host: test", "Idempotency-Key: k", "Content-Length: 11", "Expect: 100-Continue"}, "")
	conn.answer().problem(idempotency.CodeRequestTooLarge) // and no 100 before it
	route.ran(0)
}

// Forms are what outer middleware reads: for a token against forgery, say. The handler still finds the values in r.Form.
func oneHandlerAtTwoPlacesIsTwoOperations(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	mux := http.NewServeMux()
	for _, place := range []string{"/v1", "/v2"} {
		mux.Handle(place+"/", http.StripPrefix(place, route))
	}
	server := w.serve(mux)
	at := func(place string) answer {
		request := server.request("k", strings.NewReader("{}"))
		request.URL.Path = place + "/payments"
		return server.send(request)
	}
	first := at("/v1")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	at("/v2").problem(idempotency.CodeKeyReused)
	at("/v1").replays(first)
}

func aBodyThatWasReadAlreadyIsRefused(w *world) {
	asItIs := func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	asAForm := func(r *http.Request) { _ = r.FormValue("token") }
	const form, parts = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
	const multipart = "--b\r\nContent-Disposition: form-data; name=receipt; filename=r.txt\r\n\r\n1\r\n--b--\r\n"
	for _, tt := range []struct {
		name        string
		reads       func(r *http.Request)
		media, body string
		length      int64
	}{
		{"as it is", asItIs, form, "amount=1", 8},
		{"as a form", asAForm, form, "amount=1", 8},
		{"as a chunked form", asAForm, form, "amount=1", -1},
		{"as a chunked form of parts", asAForm, parts, multipart, -1},
	} {
		w.each(tt.name, func(w *world) {
			route := w.route(func(writer http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(writer, r.FormValue("amount"))
			}, func(_ *idempotency.Config, c *Config) { c.Optional = true })
			outer := http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
				tt.reads(r)
				route.ServeHTTP(writer, r)
			})
			request := func(key string) *http.Request {
				request := post(key, tt.body)
				request.Header.Set("Content-Type", tt.media)
				request.ContentLength = tt.length
				return request
			}
			serve(w, outer, request(w.key())).problem(idempotency.CodeInternal)
			route.ran(0)
			serve(w, outer, post(w.key(), "")).is(http.StatusOK, "")
			require.Equal(w, http.StatusOK, serve(w, outer, request("")).status, "without a key nothing is compared")
			route.ran(2)
		})
	}
}

func aHandlerNeedNotReadTheBody(w *world) {
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 1))
		_ = r.Body.Close()
		w.pays(http.StatusCreated)(writer, r)
	})
	server := w.serve(route)
	body := strings.Repeat("x", 100<<10)
	first := server.post("k", body)
	first.is(http.StatusCreated, `{"status":"answered"}`)
	server.post("k", body).replays(first)
	server.post("k", body+"x").problem(idempotency.CodeKeyReused)
	route.ran(1)
}

func withVersion(_ *idempotency.Config, c *Config) {
	c.FingerprintHeaders = []string{"api-version"}
	c.Methods = []string{http.MethodPost, http.MethodPut}
}

func anotherRequestWithTheSameKeyIsRefused(w *world) {
	route := w.route(w.pays(http.StatusCreated), withVersion)
	request := func() *http.Request {
		r := post("k", `{"amount":1}`)
		r.Header.Set("Api-Version", "1")
		return r
	}
	first := route.send(request())
	first.is(http.StatusCreated, `{"status":"answered"}`)
	for name, change := range map[string]func(r *http.Request){
		"method":        func(r *http.Request) { r.Method = http.MethodPut },
		"path":          func(r *http.Request) { r.URL.Path = "/refunds" },
		"escaped path":  func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/payments", "/pay%6Dents" },
		"query":         func(r *http.Request) { r.URL.RawQuery = "dry=1" },
		"media type":    func(r *http.Request) { r.Header.Set("Content-Type", "text/json") },
		"no media type": func(r *http.Request) { r.Header.Del("Content-Type") },
		"body":          func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"amount":2}`)) },
		"no body":       func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 },
		"chosen header": func(r *http.Request) { r.Header.Set("Api-Version", "2") },
		"no header":     func(r *http.Request) { r.Header.Del("Api-Version") },
		"header twice":  func(r *http.Request) { r.Header.Add("Api-Version", "1") },
	} {
		w.each(name, func(w *world) {
			other := request()
			change(other)
			route.in(w).send(other).problem(idempotency.CodeKeyReused)
		})
	}
	route.send(request()).replays(first)
	route.ran(1)
	w.hasEffects(1)
}

func theHostIsPartOfTheRequestWhereItIsChosen(w *world) {
	route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.FingerprintHeaders = []string{"host"} })
	at := func(host string) answer {
		request := post("k", "{}")
		request.Host = host
		return route.send(request)
	}
	first := at("a.test")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	at("b.test").problem(idempotency.CodeKeyReused)
	at("a.test").replays(first)
	route.ran(1)
}

func theSameRequestInOtherClothesIsAReplay(w *world) {
	route := w.route(w.pays(http.StatusCreated), withVersion)
	first := route.post("k", "{}")
	for name, change := range map[string]func(r *http.Request){
		"another header":         func(r *http.Request) { r.Header.Set("User-Agent", "retry") },
		"a media type's charset": func(r *http.Request) { r.Header.Set("Content-Type", "Application/JSON; charset=utf-8") },
		"another host":           func(r *http.Request) { r.Host = "other.test" },
		"another address":        func(r *http.Request) { r.RemoteAddr = "192.0.2.9:9" },
	} {
		w.each(name, func(w *world) {
			other := post("k", "{}")
			change(other)
			route.in(w).send(other).replays(first)
		})
	}
	route.ran(1)
}

func otherMethodsPassThrough(w *world) {
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		controller := http.NewResponseController(writer)
		if r.Method != http.MethodPost && r.Method != http.MethodPatch {
			assert.NoError(w, controller.Flush())
		}
		body, err := io.ReadAll(r.Body)
		assert.NoError(w, err)
		_, _ = fmt.Fprintf(writer, "%s %s", r.Method, body)
	})
	for method, runs := range map[string]int{
		http.MethodGet: 2, http.MethodPut: 2, http.MethodDelete: 2, http.MethodOptions: 2, http.MethodHead: 2,
		http.MethodPost: 1, http.MethodPatch: 1,
	} {
		for range 2 {
			request := post("key-of-"+method, "{}")
			request.Method = method
			got := route.send(request)
			require.Equal(w, method+" {}", got.body)
		}
		route.ran(runs)
	}
	bare := post("", "{}")
	bare.Method = http.MethodGet
	route.send(bare).is(http.StatusOK, "GET {}")
	w.hasRecords(2)
}

func aMethodThatNoRequestHasIsRefused(w *world) {
	for _, method := range []string{"post", "Patch", ""} {
		_, err := w.mount(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.Methods = []string{http.MethodPut, method} })
		require.ErrorContains(w, err, fmt.Sprintf("%q on the list Methods", method))
	}
}
