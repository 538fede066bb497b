// Package fasthttpidem carries requests between fasthttp and internal/httpidem, where the rules of HTTP are, for every framework that
// stands on fasthttp.
//
// fasthttp uses the memory of a request again for the next one on its connection. So everything that is kept for longer than a
// handler runs (key, scope, fingerprint, the stored request and response) is copied out of it here. And it sends a response when the
// handler has returned: until then the response that the handler has written can be taken away from it, and put back when it is
// committed.
package fasthttpidem
