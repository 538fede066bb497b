package proxy

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// route decides what a route does.
func (c *checker) route(config *Config, from *Route) route {
	own, all := &from.Settings, &config.Defaults
	r := route{
		patterns:           from.Patterns,
		http2:              or(own.UpstreamProtocol, all.UpstreamProtocol, "http1") == "http2",
		trust:              or(own.UpstreamTLS, all.UpstreamTLS, UpstreamTLS{}),
		preserve:           or(own.Host, all.Host, "upstream") == "preserve",
		protect:            or(own.Protect, all.Protect, "required"),
		scope:              or(own.Scope, all.Scope, Scope{}),
		keyHeaders:         slices.Clone(orList(own.KeyHeaders, all.KeyHeaders)),
		uuidOnly:           or(own.KeyFormat, all.KeyFormat, "any") == "uuid",
		minKeyLength:       or(own.MinKeyLength, all.MinKeyLength, 0),
		methods:            orList(own.Methods, all.Methods),
		timeout:            or(own.Timeout, all.Timeout, defaultTimeout),
		wait:               or(own.Wait, all.Wait, 0),
		retention:          or(own.Retention, all.Retention, defaultRetention),
		remember:           or(own.Remember, all.Remember, idempotency.DefaultRemember),
		keep:               orList(own.Keep, all.Keep),
		release:            orList(own.Release, all.Release),
		unknownStatuses:    orList(own.UnknownStatuses, all.UnknownStatuses),
		unknown:            or(own.Unknown, all.Unknown, Hold),
		maxRequest:         or(own.MaxRequestBytes, all.MaxRequestBytes, defaultBytes),
		maxResponse:        or(own.MaxResponseBytes, all.MaxResponseBytes, defaultBytes),
		fingerprintHeaders: slices.Clone(orList(own.FingerprintHeaders, all.FingerprintHeaders)),
		canonicalJSON:      or(own.CanonicalJSON, all.CanonicalJSON, false),
		replayHeaders:      orList(own.ReplayHeaders, all.ReplayHeaders),
		attemptHeader:      or(own.AttemptHeader, all.AttemptHeader, defaultAttempt),
		fresh:              or(own.Connections, all.Connections, "reuse") == "fresh",
		idle:               or(own.IdleTimeout, all.IdleTimeout, defaultIdle),
	}
	if len(r.keyHeaders) == 0 {
		r.keyHeaders = []string{"Idempotency-Key"}
	}
	if len(r.methods) == 0 {
		r.methods = []string{http.MethodPost, http.MethodPatch}
	}
	for i, name := range r.keyHeaders {
		r.keyHeaders[i] = http.CanonicalHeaderKey(name)
	}
	r.connect = or(own.ConnectTimeout, all.ConnectTimeout, min(defaultConnectTimeout, r.timeout))
	r.lease = or(own.Lease, all.Lease, r.timeout+leaseMargin)
	if len(r.patterns) == 0 {
		c.wrong("patterns is empty: give those of http.ServeMux, such as \"POST /v1/payments\"")
	}
	c.oneOf("upstream_protocol", or(own.UpstreamProtocol, all.UpstreamProtocol, "http1"), "http1", "http2")
	c.oneOf("host", or(own.Host, all.Host, "upstream"), "upstream", "preserve")
	c.oneOf("protect", r.protect, "required", "optional", "off")
	c.oneOf("connections", or(own.Connections, all.Connections, "reuse"), "reuse", "fresh")
	c.oneOf("key_format", or(own.KeyFormat, all.KeyFormat, "any"), "any", "uuid")
	c.oneOf("unknown", string(r.unknown), string(Hold), string(Release))
	r.upstream = c.upstream(string(or(own.Upstream, all.Upstream, "")))
	var err error
	if r.tls, err = r.trust.trusting(); err != nil {
		c.wrong("upstream_tls: %v", err)
	}
	c.between("idle_timeout", r.idle, time.Millisecond, time.Hour)
	if r.protect == "off" {
		c.between("connect_timeout", r.connect, time.Millisecond, time.Hour)
		return r
	}
	c.scope(config, r.scope)
	c.times(&r)
	c.protected(&r)
	return r
}

func (c *checker) upstream(address string) *url.URL {
	upstream, err := url.Parse(address)
	if err != nil || upstream.Host == "" || upstream.Scheme != "http" && upstream.Scheme != "https" ||
		upstream.User != nil || upstream.Fragment != "" || upstream.RawQuery != "" { // not repeated: there may be a password in it
		c.wrong("upstream must be a URL such as http://payments:8080 or https://payments.internal/base, without user, query and fragment")
		return &url.URL{}
	}
	return upstream
}

func (c *checker) scope(config *Config, scope Scope) {
	c.oneOf("scope.from", scope.From, "header", "credential", "client_certificate", "shared")
	switch {
	case (scope.From == "header") != (scope.Header != ""):
		c.wrong("scope.header names the header that says whose a key is, with scope.from: header, and with nothing else")
	case scope.From == "header" && !carries(scope.Header):
		c.wrong("scope.header is %q, which is no header that says whose a key is", scope.Header)
	case scope.From == "client_certificate" && config.Listen.TLS.ClientCA == "":
		c.wrong("scope.from is client_certificate: that needs listen.tls.client_ca")
	}
}

func (c *checker) times(r *route) {
	c.between("timeout", r.timeout, time.Millisecond, time.Hour)
	c.between("connect_timeout", r.connect, time.Millisecond, r.timeout)
	if r.lease < r.timeout+leastMargin || r.lease > 24*time.Hour {
		c.wrong("lease is %v: give at least timeout and %v more, which is %v, or the key could be taken over while the upstream works",
			r.lease, leastMargin, r.timeout+leastMargin)
	}
	c.between("wait", r.wait, 0, 10*time.Minute)
	c.between("retention", r.retention, time.Second, 10*365*24*time.Hour)
	c.between("remember", r.remember, time.Second, 10*365*24*time.Hour)
}

func (c *checker) protected(r *route) {
	for _, method := range r.methods {
		if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodConnect}, method) {
			c.wrong("methods has %s in it, which changes nothing, and is sent twice where a connection breaks: leave it out", method)
		}
	}
	for _, pattern := range r.patterns {
		method, place := "", pattern
		if end := strings.IndexAny(pattern, " \t"); end >= 0 {
			method, place = pattern[:end], strings.TrimLeft(pattern[end:], " \t")
		}
		if method != "" && !slices.Contains(r.methods, method) {
			c.wrong("the pattern %q is for %s, which methods does not protect: add it there, or set protect: off", pattern, method)
		}
		if host, _, _ := strings.Cut(place, "/"); host != "" {
			r.fingerprintHeaders = append(r.fingerprintHeaders, "Host") // the same path of two hosts is two operations
		}
	}
	if r.preserve {
		r.fingerprintHeaders = append(r.fingerprintHeaders, "Host")
	}
	for _, list := range [][2][]statuses{{r.keep, r.release}, {r.keep, r.unknownStatuses}} {
		for _, s := range list[0] {
			if slices.Contains(list[1], s) {
				c.wrong("%v is in keep, and in release or unknown_statuses: it cannot be both", s)
			}
		}
	}
	if r.maxRequest < 1 || r.maxRequest > mostBytes {
		c.wrong("max_request_bytes is %v: give 1 to %v", r.maxRequest, mostBytes)
	}
	if r.maxResponse < leastResponseBytes || r.maxResponse > mostBytes {
		c.wrong("max_response_bytes is %v: give %v to %v", r.maxResponse, leastResponseBytes, mostBytes)
	}
	if r.minKeyLength < 0 || r.minKeyLength > idempotency.MaxKeyBytes {
		c.wrong("min_key_length is %d: give 0 to %d", r.minKeyLength, idempotency.MaxKeyBytes)
	}
	if r.attemptHeader != "" && (!carries(r.attemptHeader) || slices.ContainsFunc(append([]string{r.scope.Header}, r.keyHeaders...), func(name string) bool {
		return strings.EqualFold(name, r.attemptHeader)
	})) {
		c.wrong("attempt_header must be the name of a header that carries neither the key nor whose it is, or \"\" for none")
	}
}

var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// carries reports whether a header of this name gets from a request's sender to where it ends.
func carries(name string) bool {
	return headerName.MatchString(name) && !slices.Contains([]string{
		"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	}, http.CanonicalHeaderKey(name))
}
