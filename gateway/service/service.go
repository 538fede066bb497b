package service

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
)

// Document is the OpenAPI document of the service.
//
//go:embed openapi.yaml
var Document []byte

// service answers requests by asking leaser.
type service struct {
	leaser  idempotency.Leaser
	config  Config
	callers *callers
	metrics *metrics
}

// New returns the handler of every endpoint, or an error that says what is wrong with config. It starts nothing.
func New(leaser idempotency.Leaser, config Config) (http.Handler, error) {
	if leaser == nil {
		return nil, errors.New("service: the leaser is nil: open one with backend.Open")
	}
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	known, err := newCallers(config)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, err
	}
	return &service{leaser, config, known, metrics}, nil
}

// call is one request to an endpoint.
type call struct {
	*http.Request
	writer http.ResponseWriter
	scope  string
	key    string // of the path
}

// answer is what an endpoint answers if it does not fail.
type answer struct {
	status  int
	body    []byte
	outcome string // for the metrics
}

// endpoint is what answers the one method of a path. It returns a *problem, or an error of the library's.
type endpoint struct {
	operation string
	method    string
	do        func(s *service, ctx context.Context, c call) (answer, error)
}

var endpoints = map[string]endpoint{
	api.RequestLocks:   {"lock", http.MethodPost, (*service).lock},
	api.Response:       {"complete", http.MethodPost, (*service).respond},
	api.Response + "/": {"read", http.MethodGet, (*service).read},
	api.Claims:         {"claim", http.MethodPost, (*service).claim},
	api.Completions:    {"complete", http.MethodPost, (*service).complete},
	api.Releases:       {"release", http.MethodPost, (*service).release},
	api.Extensions:     {"extend", http.MethodPost, (*service).extend},
	api.Lookups:        {"lookup", http.MethodPost, (*service).lookup},
	api.OpenAPI:        {"describe", http.MethodGet, nil},
}

// route finds the endpoint of r. It looks at the path as it was sent: http.ServeMux would take a//b and a/../b for other paths, and both
// may be keys.
func route(r *http.Request) (found endpoint, key string, err error) {
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, api.Response+"/"); ok && rest != "" {
		if key, err = url.PathUnescape(rest); err != nil {
			return endpoint{}, "", invalid("The path is not percent-encoded as it should be.")
		}
		path = api.Response + "/"
	}
	found, ok := endpoints[path]
	switch {
	case !ok || path == api.Response+"/" && key == "":
		return endpoint{}, "", errRoute
	case found.method != r.Method:
		return found, "", errMethod
	default:
		return found, key, nil
	}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, key, err := route(r)
	if err == nil && found.operation == "describe" {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(Document)
		return
	}
	if errors.Is(err, errMethod) {
		w.Header().Set("Allow", found.method)
		found.operation = ""
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store") // also of a problem: a cache may keep a 404, and does not know that it is one scope's
	began := time.Now()
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	var a answer
	if err == nil {
		a, err = s.serve(w, r, found, key)
	}
	if err != nil {
		p := problemOf(err)
		s.metrics.end(found.operation, string(p.Code), began)
		if p.Status >= http.StatusInternalServerError {
			s.config.Logger.WarnContext(r.Context(), "request failed", "operation", found.operation, "code", string(p.Code))
		}
		if p.Status == http.StatusUnauthorized {
			header.Set("WWW-Authenticate", "Bearer")
		}
		p.Write(w, p.after)
		return
	}
	s.metrics.end(found.operation, a.outcome, began)
	header.Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(append(a.body, '\n'))
}

// serve knows who calls before it looks at anything else of the request.
func (s *service) serve(w http.ResponseWriter, r *http.Request, found endpoint, key string) (answer, error) {
	caller, ok := s.callers.of(r)
	if !ok {
		return answer{}, errUnauthorized
	}
	scopes := r.Header[http.CanonicalHeaderKey(api.Scope)]
	if len(scopes) != 1 {
		return answer{}, errScopeMissing
	}
	if err := (idempotency.Key{Scope: scopes[0], Value: "any"}).Check(); err != nil {
		return answer{}, errScopeMissing
	}
	if !caller.may(scopes[0]) {
		return answer{}, errScopeForbidden
	}
	// What has begun is carried through: a client that hangs up could not learn how far it went.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.config.Timeout)
	defer cancel()
	return found.do(s, ctx, call{r, w, scopes[0], key})
}

// members reads the request's body.
func (c call) members(s *service, known ...string) (members, error) {
	return readBody(c.writer, c.Request, s.config.MaxRequestBytes, known...)
}

// asBase64 reports whether the caller wants bodies in base64.
func (c call) asBase64() (bool, error) {
	switch values := c.URL.Query()[api.BodyEncoding]; {
	case len(values) == 0:
		return false, nil
	case len(values) == 1 && values[0] == api.Base64:
		return true, nil
	default:
		return false, invalid("The parameter body_encoding must be base64, or be left out.")
	}
}
