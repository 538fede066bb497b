package sqlstore

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// code returns the SQLSTATE of an error that the server reported. The errors of pgx and of lib/pq both have the method.
func code(err error) string {
	if server := serverError(err); server != nil {
		return server.SQLState()
	}
	return ""
}

func serverError(err error) interface{ SQLState() string } {
	var server interface {
		error
		SQLState() string
	}
	if errors.As(err, &server) {
		return server
	}
	return nil
}

// field returns what an error of the server's says under the first of these names that its type has a field for. There is no method
// for it; names are what pgx and lib/pq call it.
func field(err error, names ...string) string {
	server := reflect.ValueOf(serverError(err))
	if server.Kind() == reflect.Pointer {
		server = server.Elem()
	}
	if server.Kind() != reflect.Struct {
		return ""
	}
	for _, name := range names {
		if value := server.FieldByName(name); value.Kind() == reflect.String {
			return value.String()
		}
	}
	return ""
}

// column returns the column that an error names, or "" if the driver does not tell.
func column(err error) string { return field(err, "ColumnName", "Column") }

// isConflict reports whether the database ended a transaction because of another one: serialization failure, or deadlock.
func isConflict(err error) bool {
	sqlstate := code(err)
	return sqlstate == "40001" || sqlstate == "40P01"
}

// The SQLSTATEs that decide something.
const (
	uniqueViolation   = "23505"
	notNullViolation  = "23502"
	divisionByZero    = "22012"
	failedTransaction = "25P02"
)

// ended are the classes of SQLSTATEs that come with the end of a connection: of the connection itself, and of the server's operator, or of
// its own state; and those by which it ends an idle one.
var ended = []string{"08", "57P0", "25P03", "25P04", "53", "58", "XX"}

// certain reports whether err is the server's own word that a statement failed, on a connection that goes on.
func certain(err error) bool {
	sqlstate := code(err)
	if sqlstate == "" {
		return false
	}
	for _, class := range ended {
		if strings.HasPrefix(sqlstate, class) {
			return false
		}
	}
	return true
}

// refusedBy turns an error before the handler ran into what the client is told: it did not run.
func refusedBy(err error) error {
	var own *idempotency.Error
	if errors.As(err, &own) {
		return own
	}
	return idempotency.ErrStoreUnavailable.Because(explained(err))
}

// ErrNotMigrated is in the errors that running the migrations cures.
var ErrNotMigrated = errors.New("sqlstore: the database is not migrated")

// explained says what to do about the errors that have one remedy.
func explained(err error) error {
	switch code(err) {
	case "42P01", "3F000":
		return fmt.Errorf("%w: the table idempotency_keys is not there: run the goose migrations of package migrations: %w", ErrNotMigrated, err)
	case "42703":
		return fmt.Errorf("%w: the table idempotency_keys lacks a column: run the goose migrations of package migrations up to the newest: %w", ErrNotMigrated, err)
	case "42501":
		return fmt.Errorf("sqlstore: the role may not use the table idempotency_keys: grant it SELECT, INSERT, UPDATE and DELETE: %w", err)
	}
	return err
}

// known is why something failed, in constant words of this package: fit to stand in the table.
type known = keytable.Known

// reason is what the row of a key says of a last transaction that failed.
func reason(err error) string {
	return keytable.Reason(err, code(err), field(err, "ConstraintName", "Constraint"))
}
