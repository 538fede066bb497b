// Package gateway keeps idempotency keys in front of services that know nothing of them. Its folders:
//
//	leased    a Store whose attempts are leases, so that an idempotency.Engine runs on whatever lends keys
//	backend   opens what lends keys: PostgreSQL, Redis, or a service
//	service   the service that lends keys to gateways of every language; client is its client
//	proxy     a reverse proxy with the whole HTTP contract
//	kong      a plugin for Kong, a module of its own
//
// The programs are cmd/onlyonced, the service, and cmd/onlyonce-proxy. What a gateway can promise, and what it cannot, is in
// docs/gateway.md.
package gateway
