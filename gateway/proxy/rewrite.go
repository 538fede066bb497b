package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
)

var forwarding = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"}

// rewrite turns a request to the proxy into one to the upstream. ReverseProxy has taken away what belongs to the connection, and what a client could
// say about where it comes from.
func (r *route) rewrite(pr *httputil.ProxyRequest, trusted bool) {
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it was compared, and not as ReverseProxy has cleaned it
	pr.SetURL(r.upstream)
	if offersHTTP2(pr.In.Header) {
		pr.Out.Header.Del("Connection")
		pr.Out.Header.Del("Upgrade")
	}
	if r.preserve {
		pr.Out.Host = pr.In.Host
	}
	if trusted {
		for _, name := range forwarding {
			if values := pr.In.Header[name]; len(values) > 0 {
				pr.Out.Header[name] = values
			}
		}
	}
	pr.SetXForwarded()
	if trusted { // they say where the request was sent to first
		for _, name := range forwarding[1:3] {
			if values := pr.In.Header[name]; len(values) > 0 {
				pr.Out.Header[name] = values
			}
		}
	}
	for _, name := range r.keyHeaders { // which a client could have taken away by naming them in Connection
		if values := pr.In.Header.Values(name); len(values) > 0 {
			pr.Out.Header[name] = values
		}
	}
}

// offersHTTP2 reports whether a request would go on in HTTP/2 on its connection, which nobody has to take up. An upstream that did would be spoken
// to past the proxy.
func offersHTTP2(header http.Header) bool {
	for offer := range strings.SplitSeq(strings.Join(header.Values("Upgrade"), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(offer), "h2c") {
			return true
		}
	}
	return false
}

// dialCause is why there was no connection, in the words of RFC 9209.
func dialCause(err error) string {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
	)
	switch {
	case errors.As(err, &dns):
		return "dns_error"
	case errors.As(err, &certificate):
		return "tls_certificate_error"
	case errors.As(err, &record), errors.As(err, &alert):
		return "tls_protocol_error"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "connection_timeout"
	}
	return "connection_refused"
}

func itoa(n int) string { return strconv.Itoa(n) }
