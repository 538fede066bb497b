// Package gateway puts onlyonce-proxy in front of three payments services that know nothing of idempotency keys, and misbehave. proxy.yaml is its
// configuration, cmd/upstream such a service, and cmd/demo shows what a gateway can do about it and what it cannot.
package gateway

import _ "embed"

// ProxyConfig is proxy.yaml.
//
//go:embed proxy.yaml
var ProxyConfig string
