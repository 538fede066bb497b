package service_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
)

const created = `{"status_code":201,"headers":{"Content-Type":"application/json"},"body":{"id": 17}}`

// eachStore runs test on a service in memory and on one on PostgreSQL.
func eachStore(t *testing.T, test func(w *world)) {
	t.Run("in memory", func(t *testing.T) {
		t.Parallel()
		test(inMemory(t))
	})
	t.Run("on Postgres", func(t *testing.T) {
		t.Parallel()
		b, err := backend.Open(t.Context(), pgtest.URL(t), backend.Options{Schema: pgtest.Schema(t)})
		require.NoError(t, err)
		t.Cleanup(b.Close)
		test(on(t, b.Leaser))
	})
}

func TestAClaimIsFollowedByItsResponse(t *testing.T) {
	t.Parallel()
	eachStore(t, func(w *world) {
		claim := `{"idempotency_key":"k","request_fingerprint":"f","lock_duration":60000}`
		first := w.want(w.post("/v1/claims", "%s", claim), 201, "")
		assert.Equal(w, "claimed", first.member(w.T, "outcome"))
		assert.EqualValues(w, 1, first.member(w.T, "attempt"))
		lock := first.member(w.T, "lock_value").(string)
		busy := w.want(w.post("/v1/claims", "%s", claim), 409, "concurrent_process_error")
		assert.Equal(w, "1", busy.header.Get("Retry-After"))
		assert.Equal(w, true, busy.member(w.T, "retryable"))
		w.want(w.get("k", "f"), 404, "idempotent_key_not_found")

		completion := fmt.Sprintf(`{"idempotency_key":"k","request_fingerprint":"f","lock_value":%q,"retention":3600000,"response":%s}`, lock, created)
		assert.Equal(w, "stored", w.want(w.post("/v1/completions", "%s", completion), 201, "").member(w.T, "outcome"))
		assert.Equal(w, "repeated", w.want(w.post("/v1/completions", "%s", completion), 200, "").member(w.T, "outcome"))
		w.want(w.post("/v1/completions", "%s", strings.Replace(completion, "17", "18", 1)), 409, "lock_lost")
		w.want(w.post("/v1/releases", `{"idempotency_key":"k","lock_value":%q}`, lock), 409, "lock_lost")

		want := `{"status_code":201,"headers":{"Content-Type":["application/json"]},"body":{"id": 17}}`
		again := w.want(w.post("/v1/claims", "%s", claim), 200, "")
		assert.Equal(w, "completed", again.member(w.T, "outcome"))
		assert.Contains(w, again.body, `"response":`+want)
		left, _ := again.member(w.T, "retention_left").(float64)
		assert.Greater(w, left, 3500e3)
		assert.LessOrEqual(w, left, 3600e3)
		assert.Equal(w, want+"\n", w.want(w.get("k", "f"), 200, "").body, "byte for byte as it was sent")
		w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"other"}`), 422, "fingerprint_conflict")
		w.want(w.get("k", "other"), 422, "fingerprint_conflict")
		w.want(w.post("/v1/lookups", `{"idempotency_key":"k","request_fingerprint":"other"}`), 422, "fingerprint_conflict")
		assert.Contains(w, w.want(w.post("/v1/lookups", `{"idempotency_key":"k"}`), 200, "").body, want)
		w.scope = "globex"
		w.want(w.get("k", "f"), 404, "idempotent_key_not_found")
	})
}

func TestTheFourCallsOfTheOldWay(t *testing.T) {
	t.Parallel()
	eachStore(t, func(w *world) {
		lock := w.want(w.post("/internal/api/request-locks", `{"idempotency_key":"k","lock_duration":30000}`), 200, "").member(w.T, "lock_value")
		w.want(w.post("/internal/api/request-locks", `{"idempotency_key":"k","lock_duration":30000}`), 409, "concurrent_process_error")
		w.want(w.get("k", "f"), 404, "idempotent_key_not_found")
		respond := `{"idempotency_key":"k","request_fingerprint":"f","response":` + created + `,"lock_meta_data":{"lock_value":%q}}`
		w.want(w.post("/response", respond, idempotency.NewOwnerToken().String()), 409, "lock_lost")
		w.want(w.get("k", "f"), 404, "idempotent_key_not_found") // nothing was written
		w.want(w.post("/response", respond, lock), 201, "")
		w.want(w.post("/response", respond, lock), 200, "")
		w.want(w.get("k", "f"), 200, "")
		completed := w.want(w.post("/internal/api/request-locks", `{"idempotency_key":"k","lock_duration":30000}`), 409, "already_completed")
		assert.Equal(w, false, completed.member(w.T, "retryable"))
	})
}

func TestALeaseThatIsOverIsTakenOverAndItsOwnerTooLate(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	late := w.claim("k", "f")
	w.clock.forward(61 * time.Second)
	w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"other"}`), 422, "fingerprint_conflict")
	second := w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"f","lock_duration":1000}`), 201, "")
	assert.EqualValues(t, 2, second.member(t, "attempt"))
	w.want(w.post("/v1/extensions", `{"idempotency_key":"k","lock_value":%q}`, late), 409, "lock_lost")
	w.want(w.post("/v1/completions", `{"idempotency_key":"k","lock_value":%q,"response":%s}`, late, created), 409, "lock_lost")
	owner := second.member(t, "lock_value")
	w.want(w.post("/v1/extensions", `{"idempotency_key":"k","lock_value":%q,"lock_duration":60000}`, owner), 200, "")
	w.clock.forward(10 * time.Second)
	w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"f"}`), 409, "concurrent_process_error")
	w.want(w.post("/v1/releases", `{"idempotency_key":"k","lock_value":%q}`, owner), 200, "")
	w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"f"}`), 201, "")
}

func TestAReleasedKeyIsNewAgain(t *testing.T) {
	t.Parallel()
	eachStore(t, func(w *world) {
		lock := w.claim("k", "f")
		w.want(w.post("/v1/releases", `{"idempotency_key":"k","lock_value":%q}`, lock), 200, "")
		w.want(w.post("/v1/releases", `{"idempotency_key":"k","lock_value":%q}`, lock), 409, "lock_lost")
		w.claim("k", "of another request")
	})
}

func TestAClaimWithItsOwnLockValueMayBeSentAgain(t *testing.T) {
	t.Parallel()
	eachStore(t, func(w *world) {
		lock := idempotency.NewOwnerToken().String()
		for range 3 {
			got := w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"f","lock_value":%q}`, lock), 201, "")
			assert.Equal(w, lock, got.member(w.T, "lock_value"))
			assert.EqualValues(w, 1, got.member(w.T, "attempt"))
		}
	})
}

func TestOfManyThatClaimAtOnceOneOwnsTheKey(t *testing.T) {
	t.Parallel()
	eachStore(t, func(w *world) {
		var group sync.WaitGroup
		statuses := make(chan int, 32)
		for range cap(statuses) {
			group.Go(func() {
				request, err := http.NewRequest(http.MethodPost, w.url+"/v1/claims", strings.NewReader(`{"idempotency_key":"k"}`))
				if !assert.NoError(w, err) {
					return
				}
				request.Header.Set("X-Idempotency-Scope", "acme")
				response, err := http.DefaultClient.Do(request)
				if assert.NoError(w, err) {
					statuses <- response.StatusCode
					_ = response.Body.Close()
				}
			})
		}
		group.Wait()
		close(statuses)
		count := map[int]int{}
		for status := range statuses {
			count[status]++
		}
		assert.Equal(w, map[int]int{201: 1, 409: 31}, count)
	})
}

func TestAKeyMayBeAnyText(t *testing.T) {
	t.Parallel()
	eachStore(t, func(w *world) {
		for i, key := range []string{"a/b", "a%2Fb", "a//b", "../a", "a/../b", "ключ-☃", "a b", "a+b", "a?b=c&d", `"quoted"`, "%", strings.Repeat("é", 127)} {
			name, err := json.Marshal(key)
			require.NoError(w, err)
			claim := w.want(w.post("/v1/claims", `{"idempotency_key":%s}`, name), 201, "")
			w.want(w.post("/v1/completions", `{"idempotency_key":%s,"lock_value":%q,"request_fingerprint":"f","response":{"status_code":200,"body":%d}}`,
				name, claim.member(w.T, "lock_value"), i), 201, "")
			got := w.want(w.get(url.PathEscape(key), "f"), 200, "")
			assert.EqualValues(w, i, got.member(w.T, "body"), "the key %q is nobody else's", key)
		}
		assert.EqualValues(w, 0, w.want(w.get("a/b", "f"), 200, "").member(w.T, "body"), "a slash may stand for itself")
	})
}

func TestABodyIsReadAsItWasStored(t *testing.T) {
	t.Parallel()
	binary := make([]byte, 256)
	for b := range binary {
		binary[b] = byte(b)
	}
	encoded := base64.StdEncoding.EncodeToString(binary)
	for name, c := range map[string]struct{ sent, read string }{
		"JSON": {`{"status_code":200,"headers":{"Content-Type":"application/json; charset=utf-8"},"body": [1.50, "<&>", {"b":1, "a" : 12345678901234567890}] }`,
			`"headers":{"Content-Type":["application/json; charset=utf-8"]},"body":[1.50, "<&>", {"b":1, "a" : 12345678901234567890}]}`},
		"JSON of another name": {`{"status_code":200,"headers":{"content-type":["application/problem+json"]},"body":"text"}`, `"headers":{"Content-Type":["application/problem+json"]},"body":"text"}`},
		"JSON without a name":  {`{"status_code":200,"body":false}`, `"headers":{"Content-Type":["application/json"]},"body":false}`},
		"no body":              {`{"status_code":204}`, `"headers":{},"body":null}`},
		"null is no body":      {`{"status_code":204,"headers":{},"body":null}`, `"headers":{},"body":null}`},
		"a null":               {`{"status_code":200,"headers":{"Content-Type":"application/json"},"body":"bnVsbA==","body_encoding":"base64"}`, `"body":"bnVsbA==","body_encoding":"base64"}`},
		"bytes":                {`{"status_code":200,"body":"` + encoded + `","body_encoding":"base64"}`, `"headers":{},"body":"` + encoded + `","body_encoding":"base64"}`},
		"JSON sent as base64":  {`{"status_code":200,"headers":{"Content-Type":"application/json"},"body":"WzFdCg==","body_encoding":"base64"}`, "\"body\":[1]\n}"},
		"what is not JSON though it says so": {`{"status_code":200,"headers":{"Content-Type":"application/json"},"body":"ew==","body_encoding":"base64"}`,
			`"body":"ew==","body_encoding":"base64"}`},
		"JSON whose text is not UTF-8": {`{"status_code":200,"headers":{"Content-Type":"application/json"},"body":"Iv8i","body_encoding":"base64"}`, `"body":"Iv8i","body_encoding":"base64"}`},
		"compressed JSON": {`{"status_code":200,"headers":{"Content-Type":"application/json","Content-Encoding":"gzip"},"body":"MQ==","body_encoding":"base64"}`,
			`"body":"MQ==","body_encoding":"base64"}`},
		"headers that are never replayed": {`{"status_code":302,"headers":{"Location":"/a","Set-Cookie":"a=b","Date":"now","X-Two":["1","2"],"Content-Length":"7"}}`,
			`"headers":{"Location":["/a"],"X-Two":["1","2"]},"body":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := inMemory(t)
			w.complete("k", "f", c.sent)
			assert.Contains(t, w.want(w.get("k", "f"), 200, "").body, c.read)
		})
	}
	w := inMemory(t)
	w.complete("k", "f", `{"status_code":200,"body":{"a":  1}}`)
	got := w.want(w.send(http.MethodPost, "/v1/claims?body_encoding=base64", `{"idempotency_key":"k","request_fingerprint":"f"}`), 200, "")
	assert.Equal(t, base64.StdEncoding.EncodeToString([]byte(`{"a":  1}`)), got.member(t, "response", "body"))
	w.want(w.send(http.MethodPost, "/v1/lookups?body_encoding=hex", `{"idempotency_key":"k"}`), 400, "request_invalid")
}

func TestAFingerprintIsKeptAsAnHMACWhereThereAreSecrets(t *testing.T) {
	t.Parallel()
	fingerprinter := func(secrets ...string) func(*service.Config) {
		var list [][]byte
		for _, secret := range secrets {
			list = append(list, []byte(secret))
		}
		f, err := idempotency.NewFingerprinter(idempotency.FingerprintConfig{Secrets: list})
		require.NoError(t, err)
		return func(c *service.Config) { c.Fingerprinter = f }
	}
	const first, second = "the first secret of two", "the second secret of two"
	b, err := backend.Open(t.Context(), "memory:", backend.Options{})
	require.NoError(t, err)
	before, rotated, after := on(t, b.Leaser, fingerprinter(first)), on(t, b.Leaser, fingerprinter(second, first)), on(t, b.Leaser, fingerprinter(second))
	before.complete("k", "f", created)
	rotated.want(rotated.get("k", "f"), 200, "")
	rotated.want(rotated.get("k", "other"), 422, "fingerprint_conflict")
	after.want(after.get("k", "f"), 422, "fingerprint_conflict")
}

func TestEveryErrorOfTheStoreIsTold(t *testing.T) {
	t.Parallel()
	for _, code := range idempotency.Codes() {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			cause := errors.New("secret words of a database")
			w := on(t, failing{err: (&idempotency.Error{Code: code, RetryAfter: time.Second}).Because(cause)})
			d, err := readDocument()
			require.NoError(t, err)
			request, err := http.NewRequest(http.MethodPost, w.url+"/v1/lookups", strings.NewReader(`{"idempotency_key":"k"}`))
			require.NoError(t, err)
			request.Header.Set("X-Idempotency-Scope", "acme")
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			defer response.Body.Close()
			var document map[string]any
			require.NoError(t, json.NewDecoder(response.Body).Decode(&document))
			require.NoError(t, d.schema(t, "#/components/schemas/Problem").Validate(jsonOf(t, document)))
			assert.EqualValues(t, response.StatusCode, document["status"])
			assert.NotContains(t, fmt.Sprint(document), "secret words")
			assert.NotEmpty(t, document["detail"])
		})
	}
}

func TestAServiceWhoseDatabaseIsAwayFailsClosed(t *testing.T) {
	t.Parallel()
	b, err := backend.Open(t.Context(), "postgres://nobody@127.0.0.1:1/none?connect_timeout=1", backend.Options{Timeout: time.Second})
	require.NoError(t, err)
	defer b.Close()
	require.Error(t, b.Check(t.Context()))
	w := on(t, b.Leaser)
	got := w.want(w.post("/v1/claims", `{"idempotency_key":"k"}`), 503, "store-unavailable")
	assert.Equal(t, true, got.member(t, "retryable"))
	assert.NotContains(t, got.body, "127.0.0.1")
}

func jsonOf(t *testing.T, value any) any {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	var parsed any
	require.NoError(t, json.Unmarshal(text, &parsed))
	return parsed
}

func TestALockLastsAsLongAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	lock := `{"idempotency_key":"k","lock_duration":1000}`
	w.want(w.post("/internal/api/request-locks", "%s", lock), 200, "")
	w.want(w.post("/internal/api/request-locks", "%s", lock), 409, "concurrent_process_error")
	w.clock.forward(2 * time.Second)
	w.want(w.post("/internal/api/request-locks", "%s", lock), 200, "")
	w.clock.forward(2 * time.Second)
	w.want(w.post("/v1/claims", `{"idempotency_key":"k"}`), 201, "") // 30 seconds
	w.clock.forward(29 * time.Second)
	w.want(w.post("/v1/claims", `{"idempotency_key":"k"}`), 409, "concurrent_process_error")
}
