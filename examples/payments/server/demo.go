package server

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
)

// printDemo prints lines that can be pasted into a shell. The key is a new one each time, so that the first payment
// is a first one also on a database that has seen demos before.
func printDemo(out io.Writer, address net.Addr) {
	fmt.Fprintf(out, `
The payments API is up. Try, in another terminal:

# A payment of USD 1.00, in cents.
curl -i http://%[1]s/api/v1/payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[2]s' -d '{"amount":100,"currency":"USD"}'

# The same again: the same bytes, Idempotent-Replayed: true, and no second payment.
curl -i http://%[1]s/api/v1/payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[2]s' -d '{"amount":100,"currency":"USD"}'

# The same key for another amount: 422.
curl -i http://%[1]s/api/v1/payments -H 'Authorization: Bearer demo_alice' -H 'Idempotency-Key: %[2]s' -d '{"amount":999,"currency":"USD"}'

# What is left, and what was paid.
curl -s http://%[1]s/api/v1/balance -H 'Authorization: Bearer demo_alice'
curl -s http://%[1]s/api/v1/payments -H 'Authorization: Bearer demo_alice'

Ctrl-C ends it.

`, reachable(address), rand.Text())
}

// reachable is an address that a client on this host can use, where the server listens on every one.
func reachable(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return address.String()
}
