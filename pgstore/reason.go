package pgstore

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/idempotency"
)

// known is why something failed, in constant words of this package: fit to stand in the table.
type known string

func (k known) Error() string { return string(k) }

// reason is what the row of a key says of a last transaction that failed. Other errors' words do not get there: the database's may
// quote values. What is left of those is the SQLSTATE, and the constraint's name.
func reason(err error) string {
	text := "idempotency: " + string(idempotency.AsError(err).Code)
	if own := known(""); errors.As(err, &own) {
		text += ": " + own.Error()
	}
	if server := (*pgconn.PgError)(nil); errors.As(err, &server) {
		text += ": SQLSTATE " + server.Code
		if server.ConstraintName != "" {
			text += ", constraint " + server.ConstraintName
		}
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
}
