package api

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

func TestTheDetailSaysWhatIsWrongWithAnAmount(t *testing.T) {
	t.Parallel()
	for amount, says := range map[string]string{
		"1.5": "without fraction", "1e2": "without fraction", "1E400": "without fraction",
		"9223372036854775808": "64-bit", "-9223372036854775809": "64-bit",
	} {
		_, err := DecodeOrder(strings.NewReader(`{"currency":"USD","amount":` + amount + `}`))
		require.ErrorContains(t, err, says, amount)
	}
}

// FuzzDecodeOrder checks that no body panics, that each is refused in words of our own, and that what is taken means to
// encoding/json what it means to us.
func FuzzDecodeOrder(f *testing.F) {
	for _, body := range []string{`{"amount":100,"currency":"USD","reference":"a"}`, `{"amount":-0}`, `{"amount":1e2}`, `{"amount":1,"amount":2}`,
		`{"AMOUNT":1}`, `{1:2}`, `{`, `[`, `null`, `{"amount":9223372036854775808}`, `{"currency":null}`, "{\"reference\":\"\xff\\u0000\"}", `{"amount":1}}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		order, err := DecodeOrder(strings.NewReader(body))
		if err != nil {
			var refusal *ledger.Refusal
			var failure *Failure
			require.True(t, errors.As(err, &refusal) || errors.As(err, &failure), "%T", err)
			return
		}
		var reference struct {
			Amount    int64
			Currency  string
			Reference string
		}
		require.NoError(t, json.Unmarshal([]byte(body), &reference))
		require.Equal(t, ledger.Order(reference), order)
	})
}
