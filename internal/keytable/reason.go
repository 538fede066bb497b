package keytable

import (
	"errors"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Known is why something failed, in constant words of a store's: fit to stand in the table.
type Known string

func (k Known) Error() string { return string(k) }

// Reason is what the row of a key says of a last transaction that failed. Other errors' words do not get there: the database's may
// quote values. What is left of those is the SQLSTATE, and the constraint's name, where the driver tells them.
func Reason(err error, sqlstate, constraint string) string {
	text := "idempotency: " + string(idempotency.AsError(err).Code)
	if own := Known(""); errors.As(err, &own) {
		text += ": " + own.Error()
	}
	if sqlstate != "" {
		text += ": SQLSTATE " + sqlstate
		if constraint != "" {
			text += ", constraint " + constraint
		}
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
}
