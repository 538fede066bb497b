package service_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
)

func TestARequestThatCannotBeUnderstoodIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	const lock = `"lock_value":"00000000000000000000000000000001"`
	settle := func(response string) string {
		return `{"idempotency_key":"hunter2",` + lock + `,"response":` + response + `}`
	}
	for name, c := range map[string]struct{ path, body, code string }{
		"no body":                        {"/v1/claims", ``, "request_invalid"},
		"no object":                      {"/v1/claims", `["hunter2"]`, "request_invalid"},
		"no JSON":                        {"/v1/claims", `{"idempotency_key":hunter2}`, "request_invalid"},
		"half an object":                 {"/v1/claims", `{"idempotency_key":"hunter2"`, "request_invalid"},
		"two objects":                    {"/v1/claims", `{"idempotency_key":"hunter2"}{}`, "request_invalid"},
		"a member that is not known":     {"/v1/claims", `{"idempotency_key":"hunter2","hunter2":1}`, "request_invalid"},
		"a member in another case":       {"/v1/claims", `{"Idempotency_key":"hunter2"}`, "request_invalid"},
		"a member twice":                 {"/v1/claims", `{"idempotency_key":"hunter2","idempotency_key":"hunter2"}`, "request_invalid"},
		"no key":                         {"/v1/claims", `{}`, "key-missing"},
		"an empty key":                   {"/v1/claims", `{"idempotency_key":""}`, "key-missing"},
		"a blank key":                    {"/v1/claims", `{"idempotency_key":"  "}`, "key-invalid"},
		"a key that is too long":         {"/v1/claims", `{"idempotency_key":"` + strings.Repeat("hunter2", 37) + `"}`, "key-invalid"},
		"a key with a line break":        {"/v1/claims", `{"idempotency_key":"hunter2\n"}`, "key-invalid"},
		"a key that is null":             {"/v1/claims", `{"idempotency_key":null}`, "request_invalid"},
		"a key that is a number":         {"/v1/claims", `{"idempotency_key":2}`, "request_invalid"},
		"a key that is not UTF-8":        {"/v1/claims", "{\"idempotency_key\":\"hunter2\xff\"}", "request_invalid"},
		"a key that is half a character": {"/v1/claims", `{"idempotency_key":"hunter2\ud800"}`, "request_invalid"},
		"an empty fingerprint":           {"/v1/claims", `{"idempotency_key":"hunter2","request_fingerprint":""}`, "request_invalid"},
		"a fingerprint that is too long": {"/v1/claims", `{"idempotency_key":"hunter2","request_fingerprint":"` + strings.Repeat("f", 256) + `"}`, "request_invalid"},
		"no lease":                       {"/v1/claims", `{"idempotency_key":"hunter2","lock_duration":0}`, "request_invalid"},
		"a lease that is too long":       {"/v1/claims", `{"idempotency_key":"hunter2","lock_duration":3600001}`, "request_invalid"},
		"a lease in seconds":             {"/v1/claims", `{"idempotency_key":"hunter2","lock_duration":"30s"}`, "request_invalid"},
		"a lease with a fraction":        {"/v1/claims", `{"idempotency_key":"hunter2","lock_duration":1.5}`, "request_invalid"},
		"a lease that is huge":           {"/v1/extensions", `{"idempotency_key":"hunter2",` + lock + `,"lock_duration":99999999999999999999}`, "request_invalid"},
		"a lock value that is none":      {"/v1/claims", `{"idempotency_key":"hunter2","lock_value":"hunter2"}`, "request_invalid"},
		"a lock value of zeros":          {"/v1/claims", `{"idempotency_key":"hunter2","lock_value":"00000000000000000000000000000000"}`, "request_invalid"},
		"no lock value":                  {"/v1/releases", `{"idempotency_key":"hunter2"}`, "request_invalid"},
		"no lock_meta_data":              {"/response", `{"idempotency_key":"hunter2","request_fingerprint":"f","response":` + created + `}`, "request_invalid"},
		"a lock_meta_data that is none":  {"/response", `{"idempotency_key":"hunter2","request_fingerprint":"f","response":` + created + `,"lock_meta_data":"hunter2"}`, "request_invalid"},
		"no fingerprint where it has to": {"/response", `{"idempotency_key":"hunter2","response":` + created + `,"lock_meta_data":{` + lock + `}}`, "request_invalid"},
		"no response":                    {"/v1/completions", `{"idempotency_key":"hunter2",` + lock + `}`, "request_invalid"},
		"a response that is null":        {"/v1/completions", settle(`null`), "request_invalid"},
		"no status":                      {"/v1/completions", settle(`{"body":1}`), "request_invalid"},
		"a status of no answer":          {"/v1/completions", settle(`{"status_code":100}`), "request_invalid"},
		"a status that is text":          {"/v1/completions", settle(`{"status_code":"200"}`), "request_invalid"},
		"headers that are a list":        {"/v1/completions", settle(`{"status_code":200,"headers":["hunter2"]}`), "request_invalid"},
		"a header that is a number":      {"/v1/completions", settle(`{"status_code":200,"headers":{"X-A":1}}`), "request_invalid"},
		"a header with a null":           {"/v1/completions", settle(`{"status_code":200,"headers":{"X-A":[null]}}`), "request_invalid"},
		"a header that is null":          {"/v1/completions", settle(`{"status_code":200,"headers":{"X-A":null}}`), "request_invalid"},
		"a header with a line break":     {"/v1/completions", settle(`{"status_code":200,"headers":{"X-A":"hunter2\r\nSet-Cookie: a=b"}}`), "request_invalid"},
		"a header's name with a space":   {"/v1/completions", settle(`{"status_code":200,"headers":{"hunter2 ":"a"}}`), "request_invalid"},
		"a header twice":                 {"/v1/completions", settle(`{"status_code":200,"headers":{"X-A":"1","X-A":"2"}}`), "request_invalid"},
		"a header in two spellings":      {"/v1/completions", settle(`{"status_code":200,"headers":{"X-A":"1","x-a":"2"}}`), "request_invalid"},
		"JSON called text":               {"/v1/completions", settle(`{"status_code":200,"headers":{"Content-Type":"text/plain"},"body":"hunter2"}`), "request_invalid"},
		"JSON called two things":         {"/v1/completions", settle(`{"status_code":200,"headers":{"Content-Type":["application/json","text/plain"]},"body":1}`), "request_invalid"},
		"JSON called compressed":         {"/v1/completions", settle(`{"status_code":200,"headers":{"content-encoding":"gzip"},"body":1}`), "request_invalid"},
		"another encoding":               {"/v1/completions", settle(`{"status_code":200,"body":"00","body_encoding":"hex"}`), "request_invalid"},
		"an encoding that is null":       {"/v1/completions", settle(`{"status_code":200,"body":1,"body_encoding":null}`), "request_invalid"},
		"an encoding that is empty":      {"/v1/completions", settle(`{"status_code":200,"body":1,"body_encoding":""}`), "request_invalid"},
		"what is not base64":             {"/v1/completions", settle(`{"status_code":200,"body":"hunter2!","body_encoding":"base64"}`), "request_invalid"},
		"base64 that is JSON":            {"/v1/completions", settle(`{"status_code":200,"body":{"a":1},"body_encoding":"base64"}`), "request_invalid"},
		"a body that is not UTF-8":       {"/v1/completions", settle("{\"status_code\":200,\"body\":\"\xff\"}"), "request_invalid"},
		"no retention":                   {"/v1/completions", `{"idempotency_key":"hunter2",` + lock + `,"retention":-1,"response":` + created + `}`, "request_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := inMemory(t)
			got := w.want(w.post(c.path, "%s", c.body), 400, c.code)
			assert.NotContains(t, got.body, "hunter2")
			assert.Equal(t, false, got.member(t, "retryable"))
		})
	}
}

func TestWhatAReadIsNotAskedWithIsRefused(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	w.want(w.get("k", ""), 400, "request_invalid")
	w.want(w.get("k", strings.Repeat("f", 256)), 400, "request_invalid")
	w.want(w.get("%20", "f"), 400, "key-invalid")
	w.want(w.get("%ff", "f"), 400, "key-invalid")
	w.want(w.get("k?body_encoding=", "f"), 400, "request_invalid")
	w.want(w.send(http.MethodGet, "/response/k", "", func(r *http.Request) { r.Header["X-Request-Fingerprint"] = []string{"f", "f"} }), 400, "request_invalid")
	for _, scopes := range map[string][]string{"two": {"acme", "acme"}, "none": {}, "an empty one": {""}, "one with a control character": {"a\tb"},
		"one that is too long": {strings.Repeat("a", 256)}} {
		w.want(w.send(http.MethodGet, "/response/k", "", func(r *http.Request) { r.Header["X-Idempotency-Scope"] = scopes }), 400, "scope_missing")
	}
}

// FuzzReadResponse: whatever is taken comes back the same, but for white space around a JSON value, and is read as what the OpenAPI document promises.
func FuzzReadResponse(f *testing.F) {
	for _, seed := range []string{created, `{"status_code":204}`, `{"status_code":200,"headers":{"A":["b","c"]},"body":"AA==","body_encoding":"base64"}`, `{"status_code":200,"body":"\ud800"}`,
		`{"status_code":200,"headers":{"content-type":"a/b+json"},"body":[1,{"a":null}]}`, `{`, `{"status_code":200,"body":null,"body_encoding":"base64"}`,
		`{"status_code":200,"headers":{"Content-Type":"application/json"},"body":"WzFdCg==","body_encoding":"base64"}`,
		`{"status_code":200,"headers":{"Content-Type":"application/json"},"body":"ew==","body_encoding":"base64"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		response, err := service.ReadResponse(text)
		if err != nil {
			return
		}
		d, err := readDocument()
		require.NoError(t, err)
		for _, asBase64 := range []bool{false, true} {
			written, err := service.AppendResponse(nil, response, asBase64)
			require.NoError(t, err)
			require.True(t, json.Valid(written), "%s", written)
			d.validate(t, "#/components/schemas/StoredResponse", string(written), "what is read")
			again, err := service.ReadResponse(written)
			require.NoError(t, err, "%s", written)
			require.Equal(t, response.Status, again.Status)
			require.Equal(t, string(response.Header), string(again.Header))
			want, got := response.Body, again.Body
			if !asBase64 && json.Valid(want) { // what is around a value is not of it: it takes base64 to keep that
				want, got = bytes.TrimSpace(want), bytes.TrimSpace(got)
			}
			require.Equal(t, string(want), string(got))
		}
	})
}

// FuzzReadMembers: whatever is taken is an object that encoding/json takes for the same.
func FuzzReadMembers(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":"x"}`, `{"a":{"a":[1, 2]}}`, `{"a":1,"a":2}`, `{} {}`, ``, `{"a"`, `{"a":1,}`, `[{"a":1}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := service.ReadMembers(text, "a", "b")
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &want))
		require.Len(t, members, len(want))
		for name, value := range want {
			require.True(t, bytes.Equal(members[name], value), "%s", name)
		}
	})
}

func TestAStoredResponseThatIsDamagedIsNotHandedOut(t *testing.T) {
	t.Parallel()
	for _, damaged := range []idempotency.Response{{Status: 0}, {Status: 700}, {Status: 200, Header: []byte("no header")}, {Status: 200, Header: []byte("Set-Cookie: a=b\r\n")}} {
		_, err := service.AppendResponse(nil, damaged, false)
		assert.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
	}
}
