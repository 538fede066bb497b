package pgstore

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// known is why something failed, in constant words of this package: fit to stand in the table.
type known = keytable.Known

// reason is what the row of a key says of a last transaction that failed.
func reason(err error) string {
	if server := (*pgconn.PgError)(nil); errors.As(err, &server) {
		return keytable.Reason(err, server.Code, server.ConstraintName)
	}
	return keytable.Reason(err, "", "")
}
