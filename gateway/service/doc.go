// Package service lends idempotency keys over HTTP, to gateways in every language: it takes a key for one caller at a time, for the length of a
// lease, and keeps the response that the caller hands in for everybody who asks with the same key afterwards.
//
// What it promises is what an idempotency.Leaser promises, no more: the effect is somewhere else. A caller that dies between the effect and
// its completion leaves the key to the next one, after its lease, and that one is told by "attempt" being more than 1.
//
// The OpenAPI document is served at /openapi.yaml; README.md of the module has every endpoint with curl.
package service
