package ledger

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheListIsWholeAndWellFormed(t *testing.T) {
	t.Parallel()
	require.Len(t, payableCurrencies, 178)
	last := ""
	for line := range strings.Lines(iso4217) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ",")
		require.Len(t, fields, 3, line)
		require.Regexp(t, `^[A-Z]{3}$`, fields[0])
		require.Regexp(t, `^[0-4-]$`, fields[1], line)
		require.NotEmpty(t, fields[2], line)
		require.Greater(t, fields[0], last, "sorted, and none twice")
		last = fields[0]
	}
}

func TestOnlyActiveMoneyIsPayable(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"USD", "EUR", "JPY", "KWD", "CLF", "XAF", "VED", "SLE", "ZWG", "XCG"} {
		require.True(t, Payable(code), code)
	}
	for _, code := range []string{"", "usd", "US", "USDD", "DEM", "HRK", "BGN", "ANG", "ZWL", "XAU", "XXX", "XTS", "BTC", "AED,2"} {
		require.False(t, Payable(code), code)
	}
}
