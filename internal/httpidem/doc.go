// Package httpidem holds the HTTP rules that every adapter shares: where the key is, what a request's fingerprint covers, how
// a response is recorded and replayed, and how an error is told to the client.
//
// It follows draft-ietf-httpapi-idempotency-key-header-07, RFC 9457 (problem documents) and Stripe's practice.
package httpidem
