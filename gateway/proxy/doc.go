// Package proxy is a reverse proxy that keeps idempotency keys for upstreams that know nothing of them: a request with a key reaches its upstream
// once, and every retry of it gets the same bytes.
//
// It is not exactly-once. An upstream that has done its work and cannot say so any more, because it or its connection or the proxy has died, leaves
// an unknown outcome. The key is held then until its lease ends ([Unknown]), and the next attempt may repeat the work: it carries a number above 1
// in the header Idempotency-Attempt. It is never worse than one lease of uncertainty, and never stuck. What can be told apart, and how the client is
// answered, is in README.md.
package proxy
