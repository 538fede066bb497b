package proxy

import (
	"net"
	"net/http"
	"time"
)

// maxResponseHeader bounds the headers of an upstream's answer. The engine takes all of what fits: it must not be the one that finds out that an
// answer is too large, since that frees the key.
const (
	maxResponseHeader = 64 << 10
	maxStoredHeader   = 4 * maxResponseHeader
)

// transport returns what connects to the route's upstream. It decompresses nothing: what is stored is what the upstream sent.
func (r *route) transport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!r.http2)
	protocols.SetHTTP2(r.http2)
	protocols.SetUnencryptedHTTP2(r.http2)
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: r.connect, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        r.tls,
		TLSHandshakeTimeout:    r.connect,
		Protocols:              protocols,
		DisableCompression:     true,
		DisableKeepAlives:      r.fresh,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        r.idle,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
	if r.http2 {
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
	}
	return t
}
