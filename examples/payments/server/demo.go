package server

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/url"
)

// printDemo prints lines that can be pasted into a shell. The keys are new ones each time, so that the first payment
// is a first one also on a database that has seen demos before.
func printDemo(out io.Writer, address net.Addr, providerURL string) {
	fmt.Fprintf(out, `
The payments API is up. Try, in another terminal:

# A payment of USD 1.00, in cents.
curl -i http://%[1]s/api/v1/payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[2]s' -d '{"amount":100,"currency":"USD"}'

# The same again: the same bytes, Idempotent-Replayed: true, and no second payment.
curl -i http://%[1]s/api/v1/payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[2]s' -d '{"amount":100,"currency":"USD"}'

# The same key for another amount: 422.
curl -i http://%[1]s/api/v1/payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[2]s' -d '{"amount":999,"currency":"USD"}'

# USD 5.00 by card, into the account.
curl -i http://%[1]s/api/v1/card-payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[3]s' -d '{"amount":500,"currency":"USD","card":"tok_visa"}'

# A card that is declined: 402, and the same for every retry.
curl -i http://%[1]s/api/v1/card-payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[4]s' -d '{"amount":500,"currency":"USD","card":"tok_declined"}'

# A provider that charges the card and answers 500, twice. Each 503 is retried with the same key, and the card is charged once.
curl -i --retry 5 http://%[1]s/api/v1/card-payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[5]s' -d '{"amount":500,"currency":"USD","card":"tok_500_after_x2"}'

# What is left, and what was paid.
curl -s http://%[1]s/api/v1/balance -H 'Authorization: Bearer demo_alice'
curl -s http://%[1]s/api/v1/payments -H 'Authorization: Bearer demo_alice'
`, reachable(address), rand.Text(), rand.Text(), rand.Text(), rand.Text())
	if isLocal(providerURL) {
		fmt.Fprintf(out, `
# What the provider has charged.
curl -s %s/v1/charges
`, providerURL)
	}
	fmt.Fprint(out, `
Ctrl-C ends it.

`)
}

// reachable is an address that a client on this host can use, where the server listens on every one.
func reachable(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return address.String()
}

func isLocal(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && net.ParseIP(parsed.Hostname()).IsLoopback()
}
