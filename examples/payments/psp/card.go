package psp

import (
	"fmt"
	"strconv"
	"strings"
)

// fault is a way to fail a request.
type fault int

const (
	noFault fault = iota
	fail500Before
	fail500After
	dropBefore
	dropAfter
	hang
	slow
)

// card is a token that a test pays with, and what the provider makes of it.
type card struct {
	token    string
	does     string
	declines bool
	fault    fault
	// firstOnly is how many requests with one key meet the fault, 0 for all.
	firstOnly int
}

var cards = []card{
	{token: "tok_visa", does: "works"},
	{token: "tok_declined", does: "is declined: 402, and again for every request with the key", declines: true},
	{token: "tok_hang", does: "never charges and never answers, until the client goes away or -max-hang is over", fault: hang},
	{token: "tok_500_before", does: "answers 500 and does not charge", fault: fail500Before},
	{token: "tok_500_after", does: "charges and answers 500", fault: fail500After},
	{token: "tok_drop", does: "charges and closes the connection without a reply", fault: dropAfter},
	{token: "tok_slow", does: "charges after -slow, whether or not the client waits; a replay is not slow", fault: slow},
}

// CardHelp explains the card tokens, one a line, and the suffix that limits a fault.
func CardHelp() string {
	var help strings.Builder
	for _, c := range cards {
		fmt.Fprintf(&help, "  %-16s%s\n", c.token, c.does)
	}
	help.WriteString(`
A fault meets every request with its card. A suffix limits it to the first requests with one idempotency key: tok_500_after_x2
charges and answers 500, answers 500, and then answers with the charge that it made at first. Requests that are answered 409
or 422 do not count.
`)
	return help.String()
}

func parseCard(text string) (card, bool) {
	for _, c := range cards {
		suffix, ok := strings.CutPrefix(text, c.token)
		switch {
		case !ok:
		case suffix == "":
			return c, true
		case c.fault != noFault && strings.HasPrefix(suffix, "_x"):
			n, err := strconv.ParseUint(suffix[len("_x"):], 10, 31)
			c.firstOnly = int(n)
			return c, err == nil && n > 0
		}
	}
	return card{}, false
}

// faultOf returns the fault of the nth request with one key, where the first is 1.
func (c card) faultOf(n int) fault {
	if c.firstOnly > 0 && n > c.firstOnly {
		return noFault
	}
	return c.fault
}
