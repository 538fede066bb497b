package proxy

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Front returns a route's handler to upstream, with protect in front of what it forwards of these methods: the proxy without its own choice of an
// engine.
func Front(upstream string, methods []string, protect func(http.Handler) http.Handler) (http.Handler, error) {
	target, err := url.Parse(upstream)
	if err != nil {
		return nil, err
	}
	if len(methods) == 0 {
		methods = []string{http.MethodPost, http.MethodPatch}
	}
	r := &route{
		patterns: []string{"/"}, upstream: target, protect: "required", methods: slices.Clone(methods), preserve: true, attemptHeader: defaultAttempt,
		timeout: time.Minute, connect: time.Second, lease: time.Hour, idle: defaultIdle, unknown: Hold, maxResponse: mostBytes,
	}
	transport := r.transport()
	h := &handler{route: r, name: "/", passThrough: newPassThrough(r, false, transport)}
	h.protected = protect(newExchange(r, false, transport))
	return h, nil
}

// Decided is what a checked configuration comes to.
func Decided(config *Config) any {
	routes := slices.Clone(config.routes)
	for i := range routes {
		routes[i].tls = nil // made of files, and not to be compared
		for _, list := range []*[]string{&routes[i].fingerprintHeaders, &routes[i].replayHeaders} {
			*list = append([]string{}, *list...)
		}
		for _, list := range []*[]statuses{&routes[i].keep, &routes[i].release, &routes[i].unknownStatuses} {
			*list = append([]statuses{}, *list...)
		}
	}
	store, logs := config.Store, config.Log
	access := logs.Access == nil || *logs.Access
	logs.Access = &access
	return []any{config.Listen, config.Admin, store, logs, len(config.Fingerprint.SecretFiles), config.Sealing, config.TrustForwarded, routes}
}

// SettingNames are the names of all settings, wherever they stand.
func SettingNames() (names []string) {
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for i := range t.NumField() {
			tag, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if t.Field(i).IsExported() {
				if tag != "" {
					names = append(names, tag)
				}
				visit(t.Field(i).Type)
			}
		}
	}
	visit(reflect.TypeFor[Config]())
	return names
}
