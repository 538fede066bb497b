// Package integration proves the library against the real thing: PostgreSQL in containers and local clusters, goose,
// crashes and faults. It holds tests only.
package integration
