package service_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
)

func TestTheDocumentHasEveryEndpointAndNoOther(t *testing.T) {
	t.Parallel()
	d, err := readDocument()
	require.NoError(t, err)
	var documented []string
	for operation := range d.operations() {
		documented = append(documented, operation)
	}
	assert.ElementsMatch(t, service.Endpoints(), documented)
}

func TestEverySchemaOfTheDocumentIsOne(t *testing.T) {
	t.Parallel()
	d, err := readDocument()
	require.NoError(t, err)
	for name := range d.root["components"].(map[string]any)["schemas"].(map[string]any) {
		d.schema(t, "#/components/schemas/"+name)
	}
}

// callable are the endpoints that need a caller, each with a request that is right.
var callable = map[string]string{
	"/v1/claims":                  `{"idempotency_key":"k"}`,
	"/v1/completions":             `{"idempotency_key":"k","lock_value":"00000000000000000000000000000001","response":{"status_code":200}}`,
	"/v1/releases":                `{"idempotency_key":"k","lock_value":"00000000000000000000000000000001"}`,
	"/v1/extensions":              `{"idempotency_key":"k","lock_value":"00000000000000000000000000000001"}`,
	"/v1/lookups":                 `{"idempotency_key":"k"}`,
	"/internal/api/request-locks": `{"idempotency_key":"k"}`,
	"/response": `{"idempotency_key":"k","request_fingerprint":"f","response":{"status_code":200},` +
		`"lock_meta_data":{"lock_value":"00000000000000000000000000000001"}}`,
	"/response/k": "",
}

func TestEveryPromiseOfTheDocumentIsKept(t *testing.T) {
	t.Parallel()
	const token = "a-token-of-one-scope"
	b, err := backend.Open(t.Context(), "memory:", backend.Options{})
	require.NoError(t, err)
	bound := func(c *service.Config) {
		c.Anonymous, c.MaxRequestBytes = false, 2000
		c.Callers = []service.Caller{{Token: token, Scopes: []string{"acme"}}}
	}
	seen := map[string]bool{}
	w, failed, away := on(t, b.Leaser, bound), on(t, failing{err: idempotency.ErrRecordUnreadable}, bound), on(t, failing{err: idempotency.ErrStoreUnavailable}, bound)
	for _, one := range []*world{w, failed, away} {
		one.seen, one.token = seen, token
	}
	call := func(w *world, path string) answer {
		if callable[path] == "" {
			return w.get("k", "f")
		}
		return w.post(path, "%s", callable[path])
	}
	for path, body := range callable {
		w.want(call(failed, path), 500, "record-unreadable")
		w.want(call(away, path), 503, "store-unavailable")
		w.token = "a-token-of-nobody's"
		w.want(call(w, path), 401, "unauthorized")
		w.token = token
		w.scope = "globex"
		w.want(call(w, path), 403, "scope_forbidden")
		w.scope = ""
		w.want(call(w, path), 400, "scope_missing")
		w.scope = "acme"
		w.want(w.send(http.MethodDelete, path, ""), 405, "method_not_allowed")
		if body != "" {
			w.want(w.post(path, `{"idempotency_key":%q}`, strings.Repeat("k", 2000)), 413, "request-too-large")
		}
	}
	lost := w.want(call(w, "/v1/releases"), 409, "lock_lost")
	assert.Equal(t, false, lost.member(t, "retryable"))
	w.want(call(w, "/v1/extensions"), 409, "lock_lost")
	w.want(call(w, "/v1/completions"), 409, "lock_lost")
	w.want(call(w, "/response"), 409, "lock_lost")
	w.want(call(w, "/v1/lookups"), 404, "idempotent_key_not_found")
	w.want(call(w, "/response/k"), 404, "idempotent_key_not_found")

	lock := w.claim("k", "f")
	w.want(w.post("/v1/claims", `{"idempotency_key":"k"}`), 409, "concurrent_process_error")
	w.want(w.post("/internal/api/request-locks", `{"idempotency_key":"k"}`), 409, "concurrent_process_error")
	w.want(w.post("/v1/extensions", `{"idempotency_key":"k","lock_value":%q}`, lock), 200, "")
	w.want(w.post("/v1/releases", `{"idempotency_key":"k","lock_value":%q}`, lock), 200, "")
	lock = w.want(w.post("/internal/api/request-locks", `{"idempotency_key":"k"}`), 200, "").member(t, "lock_value").(string)
	for _, status := range []int{201, 200} {
		w.want(w.post("/v1/completions", `{"idempotency_key":"k","request_fingerprint":"f","lock_value":%q,"response":{"status_code":200}}`, lock), status, "")
		w.want(w.post("/response", `{"idempotency_key":"k","request_fingerprint":"f","response":{"status_code":200},"lock_meta_data":{"lock_value":%q}}`, lock), 200, "")
	}
	lock = w.claim("k2", "f")
	w.want(w.post("/response", `{"idempotency_key":"k2","request_fingerprint":"f","response":{"status_code":200},"lock_meta_data":{"lock_value":%q}}`, lock), 201, "")
	w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"f"}`), 200, "")
	w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"g"}`), 422, "fingerprint_conflict")
	w.want(w.post("/v1/lookups", `{"idempotency_key":"k","request_fingerprint":"g"}`), 422, "fingerprint_conflict")
	w.want(w.get("k", "g"), 422, "fingerprint_conflict")
	w.want(w.get("k", "f"), 200, "")
	w.want(w.post("/v1/lookups", `{"idempotency_key":"k"}`), 200, "")
	w.token, w.scope = "", ""
	assert.Equal(t, string(service.Document)+"", w.want(w.send(http.MethodGet, "/openapi.yaml", ""), 200, "").body)
	w.want(w.send(http.MethodPost, "/openapi.yaml", ""), 405, "method_not_allowed")

	d, err := readDocument()
	require.NoError(t, err)
	for operation, of := range d.operations() {
		for status := range of["responses"].(map[string]any) {
			assert.True(t, seen[operation+" "+status], "nothing was answered by %s %s", operation, status)
		}
	}
}

func TestACompletionWithoutAFingerprintKeepsThatOfItsClaim(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	lock := w.claim("k", "f")
	for _, status := range []int{201, 200} {
		w.want(w.post("/v1/completions", `{"idempotency_key":"k","lock_value":%q,"response":{"status_code":200}}`, lock), status, "")
	}
	w.want(w.post("/v1/claims", `{"idempotency_key":"k","request_fingerprint":"g"}`), 422, "fingerprint_conflict")
	w.want(w.get("k", "g"), 422, "fingerprint_conflict")
	w.want(w.get("k", "f"), 200, "")
}

func TestAPathThatIsNoEndpointIsAProblem(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	for _, path := range []string{"/", "/v1/claims/", "/v2/claims", "/response/", "/V1/claims", "/v1//claims"} {
		w.want(w.send(http.MethodPost, path, "{}"), 404, "route_unknown")
	}
}

func TestEveryCodeIsExplainedWhereItsTypeLeads(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	source, err := os.ReadFile("../internal/api/api.go")
	require.NoError(t, err)
	_, codes, found := strings.Cut(string(source), "// The codes of problems")
	require.True(t, found)
	codes, _, _ = strings.Cut(codes, "\n)")
	matches := regexp.MustCompile(`= "([a-z_]+)"`).FindAllStringSubmatch(codes, -1)
	require.GreaterOrEqual(t, len(matches), 11)
	for _, match := range matches {
		assert.Contains(t, string(page), `<a id="`+match[1]+`"></a>`, "gateway/README.md does not explain %s", match[1])
	}
	assert.Contains(t, codes, api.LockLost)
}
