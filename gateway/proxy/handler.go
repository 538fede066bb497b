package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/gateway/leased"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
)

// handler serves a route.
type handler struct {
	*route
	name        string
	protected   http.Handler // nil: nothing is
	passThrough http.Handler
}

// storing is for how long the store may take to answer at the begin and at the end of a request, beside what the upstream may take.
const storing = 30 * time.Second

// newHandler brings a route, a Leaser and a transport together. The error is about what nethttp and idempotency check.
func newHandler(r *route, config *Config, leaser idempotency.Leaser, transport http.RoundTripper) (*handler, error) {
	h := &handler{route: r, name: r.patterns[0], passThrough: newPassThrough(r, config.TrustForwarded, transport)}
	if r.protect == "off" {
		return h, nil
	}
	store, err := leased.New(leaser, leased.Config{Lease: r.lease, Remember: r.remember, Timeout: config.Store.Timeout})
	if err != nil {
		return nil, err
	}
	engine, err := idempotency.New(store, idempotency.Config{
		Policy: r.policy, Observer: observe, Retention: r.retention, Wait: r.wait, HandlerTimeout: r.lease,
		MaxResponseBytes: int(max(r.maxResponse, 4<<10)), MaxResponseHeaderBytes: maxStoredHeader,
		Sealer: config.shared.box, Sealing: config.shared.sealing,
	})
	if err != nil {
		return nil, err
	}
	fingerprinter, err := idempotency.NewFingerprinter(idempotency.FingerprintConfig{Secrets: config.shared.secrets, CanonicalJSON: r.canonicalJSON})
	if err != nil {
		return nil, err
	}
	var validate func(string) error
	switch {
	case r.uuidOnly:
		validate = nethttp.UUIDOnly
	case r.minKeyLength > 0:
		validate = nethttp.MinLength(r.minKeyLength)
	}
	protect, err := nethttp.Middleware(engine, nethttp.Config{
		Scope: r.scope.of(), Headers: r.keyHeaders, Validate: validate, Methods: r.methods, MaxRequestBytes: int(r.maxRequest),
		Fingerprinter: fingerprinter, FingerprintHeaders: r.fingerprintHeaders, ReplayHeaders: append(slices.Clone(r.replayHeaders), statusHeader),
	})
	if err != nil {
		return nil, err
	}
	h.protected = protect(newExchange(r, config.TrustForwarded, transport))
	return h, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	trip := tripOf(r.Context())
	trip.route = h.name
	control := http.NewResponseController(w)
	if h.protected == nil || !slices.Contains(h.methods, r.Method) || h.protect == "optional" && !h.keyed(r) {
		trip.outcome = "passed"
		_ = control.SetReadDeadline(time.Time{}) // it may stream for as long as the two want; what fails here fails later
		_ = control.SetWriteDeadline(time.Time{})
		h.passThrough.ServeHTTP(w, r)
		return
	}
	if what := streams(r); what != "" {
		trip.outcome = "streaming-refused"
		streaming(what).write(w)
		return
	}
	_ = control.SetWriteDeadline(time.Now().Add(h.wait + h.lease + 2*storing))
	trip.outcome = "turned-away" // unless the engine says otherwise: the request is not one that it takes
	h.protected.ServeHTTP(w, r)
}

func (h *handler) keyed(r *http.Request) bool {
	return slices.ContainsFunc(h.keyHeaders, func(name string) bool { return len(r.Header.Values(name)) > 0 })
}

// streams says by what a request wants to be answered piece by piece, or "".
func streams(r *http.Request) string {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	accept, _, _ := strings.Cut(strings.Join(r.Header.Values("Accept"), ","), ";")
	switch {
	case r.Header.Get("Upgrade") != "" && !offersHTTP2(r.Header):
		return "another protocol on this connection"
	case strings.EqualFold(strings.TrimSpace(accept), "text/event-stream"): // and nothing else
		return "a stream of events"
	case strings.HasPrefix(strings.ToLower(media), "application/grpc"): // whose status comes in trailers, which a replay does not have
		return "gRPC"
	}
	return ""
}

// newPassThrough forwards what is not protected, as it comes.
func newPassThrough(r *route, forwarded bool, transport http.RoundTripper) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			r.rewrite(pr, forwarded)
			spell(pr.Out.Header)
			if r.attemptHeader != "" {
				pr.Out.Header.Del(r.attemptHeader) // it is the proxy's to set
			}
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      silent,
		ErrorHandler: func(w http.ResponseWriter, out *http.Request, err error) {
			if !sendingOf(out.Context()).connected.Load() {
				tripOf(out.Context()).fate = "unreachable"
				unreachable(dialCause(err)).write(w)
				return
			}
			tripOf(out.Context()).fate = "cut"
			cutOff(againNoKey, 0).write(w)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &sending{}
		ctx := httptrace.WithClientTrace(context.WithValue(r.Context(), sendingKey{}, s), &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { s.connected.Store(true) },
		})
		proxy.ServeHTTP(w, r.WithContext(ctx))
	})
}

// routeError says which route cannot be made.
func routeError(i int, r *route, err error) string {
	return fmt.Sprintf("route %d (%s): %v", i+1, r.patterns[0], err)
}
