package opened

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Code is one of onlyonce.h's.
type Code int32

// The codes that come from this side of the library.
const (
	Invalid     Code = 1
	Handle      Code = 2
	Internal    Code = 4
	Config      Code = 6
	Key         Code = 7
	TooLarge    Code = 8
	Unavailable Code = 9
	Unknown     Code = 10
	Lease       Code = 11
	Unreadable  Code = 12
	Conflict    Code = 13
	SQL         Code = 14
)

var codes = map[idempotency.Code]Code{
	idempotency.CodeKeyMissing:          Key,
	idempotency.CodeKeyInvalid:          Key,
	idempotency.CodeScopeMissing:        Key,
	idempotency.CodeStoreUnavailable:    Unavailable,
	idempotency.CodeOutcomeUnknown:      Unknown,
	idempotency.CodeLeaseLost:           Lease,
	idempotency.CodeRecordUnreadable:    Unreadable,
	idempotency.CodeTransactionConflict: Conflict,
	idempotency.CodeResponseTooLarge:    TooLarge,
}

// Failure is what a C program gets to know of an error.
type Failure struct {
	Code       Code
	Retryable  bool
	RetryAfter time.Duration
	SQLState   string
	Message    string
}

func (f *Failure) Error() string { return f.Message }

// FailureOf puts an error of the library into C's terms. What the database said goes with it, in the operator's message.
func FailureOf(err error) *Failure {
	if known := (*Failure)(nil); errors.As(err, &known) {
		return known
	}
	f := &Failure{Message: err.Error()}
	if own := (*idempotency.Error)(nil); errors.As(err, &own) {
		f.Code, f.Retryable, f.RetryAfter = codes[own.Code], own.Code.Retryable(), own.RetryAfter
	}
	if database := (*pgconn.PgError)(nil); errors.As(err, &database) {
		f.SQLState = database.Code
		if f.Code == 0 {
			f.Code = SQL
		}
	}
	if f.Code == 0 {
		f.Code = Internal
	}
	return f
}

// Panicked is the failure of a call that has panicked. A panic's value may hold anything, so it is repeated only where it is the runtime's.
func Panicked(value any) *Failure {
	what := fmt.Sprintf("a value of type %T", value)
	if own, ok := value.(runtime.Error); ok {
		what = own.Error()
	}
	return &Failure{Code: Internal, Message: "a bug in the library, please report it: it panicked with " + what + "; whether the call took effect is not known"}
}
