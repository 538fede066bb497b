package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPaymentIDsAreUUIDv7ThatSortByTime(t *testing.T) {
	t.Parallel()
	before := time.Now().UnixMilli()
	id := newPaymentID()
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
	raw, ok := parseUUID(id)
	require.True(t, ok)
	var millis int64
	for _, b := range raw[:6] {
		millis = millis<<8 | int64(b)
	}
	require.GreaterOrEqual(t, millis, before)
	require.LessOrEqual(t, millis, time.Now().UnixMilli())
	require.NotEqual(t, id, newPaymentID())
}

func TestAUUIDHasOneSpelling(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", "01A1FD9E-6A5A-7881-B2F7-03A5A3127403", "01a1fd9e6a5a7881b2f703a5a3127403",
		"{01a1fd9e-6a5a-7881-b2f7-03a5a3127403}", "01a1fd9e-6a5a-7881-b2f7-03a5a312740", "01a1fd9e-6a5a-7881-b2f7-03a5a312740g",
		"01a1fd9e+6a5a+7881+b2f7+03a5a3127403", "ääääääääääääääääää"} {
		_, ok := parseUUID(text)
		require.False(t, ok, text)
	}
}
