package ledger

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Code names the reason of a Refusal. It is part of the API: clients branch on it.
type Code string

// The reasons for which the ledger says no.
const (
	InvalidAmount     Code = "invalid-amount"
	UnknownCurrency   Code = "unknown-currency"
	CurrencyMismatch  Code = "currency-mismatch"
	InvalidReference  Code = "invalid-reference"
	InvalidCard       Code = "invalid-card"
	InsufficientFunds Code = "insufficient-funds"
	CardDeclined      Code = "card-declined"
	PaymentNotFound   Code = "payment-not-found"
	AccountNotFound   Code = "account-not-found"
)

// Refusal is the ledger's "no": a rule was not met and nothing was written. Detail is meant for the caller's eyes.
type Refusal struct {
	Code   Code
	Detail string
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Detail }

// Refuse returns a *Refusal as an error.
func Refuse(code Code, detail string) error { return &Refusal{Code: code, Detail: detail} }

// DatabaseError says which step failed. Its text holds the SQLSTATE and never the database's own message, which may quote
// what a client sent: it is safe to log. The cause is there for errors.As.
type DatabaseError struct {
	Doing string
	Err   error
}

func (e *DatabaseError) Error() string {
	if pg, ok := errors.AsType[*pgconn.PgError](e.Err); ok {
		return fmt.Sprintf("%s failed in the database (SQLSTATE %s)", e.Doing, pg.Code)
	}
	return fmt.Sprintf("%s failed: no answer from the database (%T)", e.Doing, e.Err)
}

func (e *DatabaseError) Unwrap() error { return e.Err }

func failed(doing string, err error) error { return &DatabaseError{Doing: doing, Err: err} }
