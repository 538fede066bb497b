package ledger

import (
	_ "embed"
	"strings"
)

// iso4217 is ISO 4217's list one (amendment 180, in force since 2026-01-01): code, digits of the minor unit, name. Codes
// that name no money (metals, bond units, tests) have "-" for digits.
//
//go:embed iso4217.csv
var iso4217 string

var payableCurrencies = parseCurrencies(iso4217)

// Payable reports whether code is an active ISO 4217 currency that has a minor unit, and so can be paid in. Lower case is
// not accepted: the same currency would have two spellings.
func Payable(code string) bool {
	return payableCurrencies[code]
}

func parseCurrencies(csv string) map[string]bool {
	payable := make(map[string]bool, 180)
	for line := range strings.Lines(csv) {
		code, rest, _ := strings.Cut(line, ",")
		digits, _, _ := strings.Cut(rest, ",")
		payable[code] = digits != "-"
	}
	return payable
}
