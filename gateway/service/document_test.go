package service_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/onlyonce/onlyonce/gateway/service"
)

// document is the OpenAPI document. Every request that the tests send goes past it, with its answer.
type document struct {
	root     map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

var readDocument = sync.OnceValues(func() (*document, error) {
	var parsed any
	if err := yaml.Unmarshal(service.Document, &parsed); err != nil {
		return nil, err
	}
	text, err := json.Marshal(parsed)
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiler.AssertContent()
	return &document{root: value.(map[string]any), compiler: compiler, compiled: map[string]*jsonschema.Schema{}}, compiler.AddResource("openapi.json", value)
})

// operations returns each "GET /path" of the document.
func (d *document) operations() map[string]map[string]any {
	operations := map[string]map[string]any{}
	for path, item := range d.root["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			operations[strings.ToUpper(method)+" "+path] = operation.(map[string]any)
		}
	}
	return operations
}

// resolve follows a pointer, and each $ref on its way. at is where its target is.
func (d *document) resolve(t *testing.T, pointer string) (target map[string]any, at string) {
	t.Helper()
	target, at = d.root, "#"
	for _, step := range strings.Split(strings.TrimPrefix(pointer, "#/"), "/") {
		next, ok := target[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)].(map[string]any)
		require.True(t, ok, "%s: there is no %q", pointer, step)
		if target, at = next, at+"/"+step; target["$ref"] != nil {
			target, at = d.resolve(t, target["$ref"].(string))
		}
	}
	return target, at
}

func (d *document) schema(t *testing.T, pointer string) *jsonschema.Schema {
	t.Helper()
	_, at := d.resolve(t, pointer)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.compiled[at] == nil {
		schema, err := d.compiler.Compile("openapi.json" + at)
		require.NoError(t, err, at)
		d.compiled[at] = schema
	}
	return d.compiled[at]
}

func escaped(step string) string { return strings.ReplaceAll(step, "/", "~1") }

// operation is what the document calls a request; a method that it does not have there is refused as the one that it has would refuse it.
func (d *document) operation(t *testing.T, method, path string) (name string, known bool) {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	if strings.HasPrefix(path, "/response/") && path != "/response/" {
		path = "/response/{idempotency_key}"
	}
	item, ok := d.root["paths"].(map[string]any)[path].(map[string]any)
	if !ok {
		return "", false
	}
	if item[strings.ToLower(method)] == nil {
		for method = range item {
		}
	}
	return strings.ToUpper(method) + " " + path, true
}

// check fails the test unless the document promises what was answered, and allows what was accepted. It returns the promise.
func (d *document) check(t *testing.T, method, path, body string, got answer) (promise string) {
	t.Helper()
	operation, known := d.operation(t, method, path)
	if !known {
		require.Equal(t, http.StatusNotFound, got.status, got.body)
		d.validate(t, "#/components/schemas/Problem", got.body, path)
		return ""
	}
	verb, path, _ := strings.Cut(operation, " ")
	base := fmt.Sprintf("#/paths/%s/%s", escaped(path), strings.ToLower(verb))
	promise = fmt.Sprintf("%s %d", operation, got.status)
	_, promised := d.operations()[operation]["responses"].(map[string]any)[fmt.Sprint(got.status)]
	require.True(t, promised, "%s is not documented: %s", promise, got.body)
	response, at := d.resolve(t, fmt.Sprintf("%s/responses/%d", base, got.status))
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		header, headerAt := d.resolve(t, at+"/headers/"+name)
		if value := got.header.Get(name); value != "" {
			require.NoError(t, d.schema(t, headerAt+"/schema").Validate(value), promise)
		} else if required, _ := header["required"].(bool); required {
			require.Fail(t, "a header is missing", "%s %s", promise, name)
		}
	}
	media := got.header.Get("Content-Type")
	require.Contains(t, response["content"], media, promise)
	if strings.HasSuffix(media, "json") {
		d.validate(t, at+"/content/"+escaped(media)+"/schema", got.body, promise)
	}
	if got.status < 300 && method == http.MethodPost {
		d.validate(t, base+"/requestBody/content/application~1json/schema", body, "the request of "+promise)
	}
	return promise
}

func (d *document) validate(t *testing.T, pointer, text, what string) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err, "%s: %s", what, text)
	require.NoError(t, d.schema(t, pointer).Validate(value), "%s: %s", what, text)
}
