package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"

	"github.com/onlyonce/onlyonce/examples/payments/api"
	"github.com/onlyonce/onlyonce/examples/payments/echoapi"
	"github.com/onlyonce/onlyonce/examples/payments/nethttpapi"
)

// document is the OpenAPI document, which promises the responses that the tests below ask for.
type document struct {
	t      *testing.T
	root   map[string]any
	schema *jsonschema.Compiler
	// unseen are the promised responses that no request has got yet, as "GET /path 200".
	unseen map[string]bool
}

func readDocument(t *testing.T) *document {
	t.Helper()
	var parsed any
	require.NoError(t, yaml.Unmarshal(api.OpenAPI, &parsed))
	text, err := json.Marshal(parsed)
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource("openapi.json", value))

	d := &document{t: t, root: value.(map[string]any), schema: compiler, unseen: map[string]bool{}}
	for operation, responses := range d.operations() {
		for status := range responses {
			d.unseen[operation+" "+status] = true
		}
	}
	return d
}

// operations returns the responses of each "GET /path", by status.
func (d *document) operations() map[string]map[string]any {
	operations := map[string]map[string]any{}
	for path, item := range d.root["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			operations[strings.ToUpper(method)+" "+path] = operation.(map[string]any)["responses"].(map[string]any)
		}
	}
	return operations
}

// resolve follows a $ref, and returns where its target is.
func (d *document) resolve(pointer string) (target map[string]any, at string) {
	d.t.Helper()
	target = d.root
	for _, step := range strings.Split(strings.TrimPrefix(pointer, "#/"), "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		next, ok := target[step].(map[string]any)
		require.True(d.t, ok, "%s: there is no %q", pointer, step)
		target = next
	}
	if ref, ok := target["$ref"].(string); ok {
		return d.resolve(ref)
	}
	return target, pointer
}

// check fails the test unless the document promises exactly what a request to the operation was answered.
func (d *document) check(operation string, got answer) {
	d.t.Helper()
	promise := fmt.Sprintf("%s %d", operation, got.status)
	method, path, _ := strings.Cut(operation, " ")
	require.Contains(d.t, d.operations()[operation], fmt.Sprint(got.status), "%s is not documented: %s", promise, got.body)
	delete(d.unseen, promise)

	response, at := d.resolve(fmt.Sprintf("#/paths/%s/%s/responses/%d", strings.ReplaceAll(path, "/", "~1"), strings.ToLower(method), got.status))
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		header, headerAt := d.resolve(at + "/headers/" + name)
		if got.header.Get(name) != "" {
			d.validate(headerAt+"/schema", got.header.Get(name), promise+" "+name)
		} else if required, _ := header["required"].(bool); required {
			require.Fail(d.t, "a header is missing", "%s %s", promise, name)
		}
	}

	content := response["content"].(map[string]any)
	mediaType := got.header.Get("Content-Type")
	require.Contains(d.t, content, mediaType, promise)
	if !strings.HasSuffix(mediaType, "json") {
		return
	}
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
	require.NoError(d.t, err, promise)
	d.validate(at+"/content/"+strings.ReplaceAll(mediaType, "/", "~1")+"/schema", body, promise)
	if mediaType == "application/problem+json" {
		require.Equal(d.t, json.Number(fmt.Sprint(got.status)), body.(map[string]any)["status"], promise)
	}
}

func (d *document) validate(pointer string, value any, what string) {
	d.t.Helper()
	_, at := d.resolve(pointer)
	schema, err := d.schema.Compile("openapi.json" + at)
	require.NoError(d.t, err, at)
	require.NoError(d.t, schema.Validate(value), what)
}

func TestTheDocumentPromisesWhatTheHandlersAnswer(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		d := readDocument(t)
		s := start(t, shell, withProvider(startProvider(t)), func(o *options) { o.config.Wait = 0 })
		const create, list, get, balance = "POST /api/v1/payments", "GET /api/v1/payments", "GET /api/v1/payments/{id}", "GET /api/v1/balance"
		const createByCard, getByCard = "POST /api/v1/card-payments", "GET /api/v1/card-payments/{id}"
		const missingByCard = "/api/v1/card-payments/00000000-0000-7000-8000-000000000000"
		const missing = "/api/v1/payments/00000000-0000-7000-8000-000000000000"

		d.check("GET /healthz", s.get("", "/healthz"))
		d.check("GET /readyz", s.get("", "/readyz"))
		description := s.get("", "/openapi.yaml")
		d.check("GET /openapi.yaml", description)
		require.Equal(t, string(api.OpenAPI), description.body)

		paid := s.pay(alice, "k-1", oneDollar)
		d.check(create, paid)
		d.check(create, s.pay(alice, "k-1", oneDollar))
		d.check(create, s.pay(alice, "k-1b", `{"amount":1,"currency":"USD"}`))
		d.check(create, s.send("POST", "/api/v1/payments", alice, oneDollar))
		d.check(create, s.pay(alice, "k-2", `{`))
		d.check(create, s.pay("nobody", "k-3", oneDollar))
		d.check(create, s.pay(alice, "k-4", `{"amount":100001,"currency":"USD"}`))
		d.check(create, s.pay(alice, "k-1", `{"amount":1,"currency":"USD"}`))
		d.check(create, s.pay(alice, "k-5", `{"amount":0,"currency":"USD"}`))
		d.check(create, s.pay(alice, "k-6", strings.Repeat(" ", 8<<20)))

		d.check(list, s.get(alice, "/api/v1/payments?limit=1"))
		d.check(list, s.get(bob, "/api/v1/payments"))
		d.check(list, s.get(alice, "/api/v1/payments?limit=0"))
		d.check(list, s.get("", "/api/v1/payments"))
		d.check(get, s.get(alice, paid.header.Get("Location")))
		d.check(get, s.get(bob, paid.header.Get("Location")))
		d.check(get, s.get("", missing))
		d.check(balance, s.get(alice, "/api/v1/balance"))
		d.check(balance, s.get("", "/api/v1/balance"))

		d.check(create, inProgress(s))

		captured := s.payByCard(alice, "c-1", byCard("tok_visa"))
		d.check(createByCard, captured)
		d.check(createByCard, s.payByCard(alice, "c-1", byCard("tok_visa")))
		declined := s.payByCard(alice, "c-2", byCard("tok_declined"))
		d.check(createByCard, declined)
		unknown := s.payByCard(alice, "c-3", byCard("tok_drop"))
		d.check(createByCard, unknown)
		d.check(createByCard, s.payByCard(alice, "c-4", `{`))
		d.check(createByCard, s.payByCard("nobody", "c-5", byCard("tok_visa")))
		d.check(createByCard, s.payByCard(alice, "c-6", byCard("")))
		d.check(createByCard, s.payByCard(alice, "c-7", strings.Repeat(" ", 8<<20)))
		d.check(createByCard, cardInProgress(s))
		for _, paid := range []answer{captured, declined, unknown} {
			d.check(getByCard, s.get(alice, paid.header.Get("Location")))
		}
		d.check(getByCard, s.get(bob, captured.header.Get("Location")))
		d.check(getByCard, s.get("", missingByCard))

		_, err := s.db.Exec(t.Context(), `DELETE FROM receipts; DELETE FROM ledger_entries; DELETE FROM card_payments; DELETE FROM payments; DELETE FROM accounts`)
		require.NoError(t, err)
		d.check(createByCard, s.payByCard(alice, "c-8", byCard("tok_visa")))
		d.check(create, s.pay(alice, "k-7", oneDollar))
		d.check(balance, s.get(alice, "/api/v1/balance"))
		_, err = s.db.Exec(t.Context(), `DROP TABLE receipts, ledger_entries, card_payments, payments, accounts`)
		require.NoError(t, err)
		d.check(createByCard, s.payByCard(alice, "c-9", byCard("tok_visa")))
		d.check(getByCard, s.get(alice, missingByCard))
		d.check(create, s.pay(alice, "k-8", oneDollar))
		d.check(list, s.get(alice, "/api/v1/payments"))
		d.check(get, s.get(alice, missing))
		d.check(balance, s.get(alice, "/api/v1/balance"))

		gone := startWithoutDatabase(t, shell)
		d.check("GET /healthz", gone.get("", "/healthz"))
		d.check("GET /readyz", gone.get("", "/readyz"))
		d.check(create, gone.pay(alice, "k-9", oneDollar))
		d.check(createByCard, gone.payByCard(alice, "c-10", byCard("tok_visa")))
		d.check(getByCard, gone.get(alice, missingByCard))
		d.check(list, gone.get(alice, "/api/v1/payments"))
		d.check(get, gone.get(alice, missing))
		d.check(balance, gone.get(alice, "/api/v1/balance"))

		require.Empty(t, d.unseen, "documented, but answered by no request of this test")
	})
}

// inProgress returns what a duplicate is told while the first request runs.
func inProgress(s *service) answer {
	release := s.lockAccount("bob")
	first := s.startBlockedPayment(bob, "slow", oneDollar)
	duplicate := s.pay(bob, "slow", oneDollar)
	release()
	<-first
	return duplicate
}

// cardInProgress returns what a duplicate is told while the first request books its charge.
func cardInProgress(s *service) answer {
	release := s.lockAccount("bob")
	first := s.begin("/api/v1/card-payments", bob, "slow-by-card", byCard("tok_visa"))
	s.awaitBlocked(first)
	duplicate := s.payByCard(bob, "slow-by-card", byCard("tok_visa"))
	release()
	<-first
	return duplicate
}

// startWithoutDatabase starts a server whose database stops answering once it serves.
func startWithoutDatabase(t *testing.T, shell string) *service {
	t.Helper()
	return start(t, shell, func(o *options) {
		o.configure = func(pool *pgxpool.Config) {
			pool.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
			}
		}
	})
}

func TestEveryRouteIsDocumentedAndEveryDocumentedOneExists(t *testing.T) {
	t.Parallel()
	var documented []string
	for operation := range readDocument(t).operations() {
		documented = append(documented, operation)
	}
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	service := api.Service{Engine: engine, Logger: slog.New(slog.DiscardHandler)}

	byEcho, err := echoapi.New(service)
	require.NoError(t, err)
	require.ElementsMatch(t, documented, echoRoutes(byEcho), "Echo")

	byNetHTTP, err := nethttpapi.New(service)
	require.NoError(t, err)
	var routes []string
	for path, methods := range byNetHTTP.Routes() {
		for _, method := range methods {
			routes = append(routes, method+" "+path)
		}
	}
	require.ElementsMatch(t, documented, routes, "net/http")
}

func echoRoutes(e *echo.Echo) (routes []string) {
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, route := range e.Routes() {
		routes = append(routes, route.Method+" "+parameter.ReplaceAllString(route.Path, "{$1}"))
	}
	return slices.Compact(routes)
}
