// Package secrets holds a server process to telling nobody a card number, an idempotency key or a token: not its log, its metrics,
// its answers or the database's list of what runs.
package secrets
