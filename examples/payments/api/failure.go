package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/idempotency"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// Failure is an error that knows its answer.
type Failure struct {
	Status int
	Code   string
	Detail string
	cause  error
}

func (f *Failure) Error() string { return f.Code + ": " + f.Detail }

// Unwrap returns the cause, which is for the operator and is never sent.
func (f *Failure) Unwrap() error { return f.cause }

func (f *Failure) because(err error) *Failure {
	with := *f
	with.cause = err
	return &with
}

var (
	errUnauthenticated = &Failure{Status: http.StatusUnauthorized, Code: "unauthenticated",
		Detail: "Send one Authorization header with a known token: Bearer demo_alice or Bearer demo_bob."}
	errNotReady = &Failure{Status: http.StatusServiceUnavailable, Code: "not-ready",
		Detail: "The database does not answer, or is not migrated. Try again later."}
	errDatabaseUnavailable = &Failure{Status: http.StatusServiceUnavailable, Code: "database-unavailable",
		Detail: "The database does not answer. Send the same request again with the same key: nothing is done twice."}
	errProviderUnavailable = &Failure{Status: http.StatusServiceUnavailable, Code: "provider-unavailable",
		Detail: "It is not known yet whether the card was charged. Send the same request again with the same key to learn it; a new key could charge the card twice."}
	errInternal = &Failure{Status: http.StatusInternalServerError, Code: "internal",
		Detail: "Something went wrong on our side. Send the same request again with the same key: nothing is done twice."}
)

// NoRoute is the failure of a request that no handler takes, by the status that the router gave it.
func NoRoute(status int) *Failure {
	switch status {
	case http.StatusNotFound:
		return &Failure{Status: status, Code: "route-not-found", Detail: "There is nothing at this path. /openapi.yaml lists what there is."}
	case http.StatusMethodNotAllowed:
		return &Failure{Status: status, Code: "method-not-allowed", Detail: "This path takes the methods in the Allow header."}
	}
	code := strings.ToLower(strings.ReplaceAll(http.StatusText(status), " ", "-"))
	return &Failure{Status: status, Code: code, Detail: http.StatusText(status) + "."}
}

func badRequest(code, detail string) error {
	return &Failure{Status: http.StatusBadRequest, Code: code, Detail: detail}
}

// refusalStatus gives each of the ledger's refusals its status. Each is below 500, so the middleware rolls back and keeps
// the answer for every retry.
var refusalStatus = map[ledger.Code]int{
	ledger.InvalidAmount:     http.StatusUnprocessableEntity,
	ledger.UnknownCurrency:   http.StatusUnprocessableEntity,
	ledger.CurrencyMismatch:  http.StatusUnprocessableEntity,
	ledger.InvalidReference:  http.StatusUnprocessableEntity,
	ledger.InvalidCard:       http.StatusUnprocessableEntity,
	ledger.InsufficientFunds: http.StatusPaymentRequired,
	ledger.CardDeclined:      http.StatusPaymentRequired,
	ledger.PaymentNotFound:   http.StatusNotFound,
	ledger.AccountNotFound:   http.StatusNotFound,
}

// failureOf finds the answer to any error that a handler returns.
func failureOf(err error) *Failure {
	if failure, ok := errors.AsType[*Failure](err); ok {
		return failure
	}
	if refusal, ok := errors.AsType[*ledger.Refusal](err); ok {
		return &Failure{Status: refusalStatus[refusal.Code], Code: string(refusal.Code), Detail: refusal.Detail}
	}
	if unknown, ok := errors.AsType[*psp.Unknown](err); ok {
		return errProviderUnavailable.because(unknown)
	}
	if databaseGone(err) {
		return errDatabaseUnavailable.because(err)
	}
	return errInternal.because(err)
}

// databaseGone reports whether no statement could succeed now: no connection, or one that the server has ended.
func databaseGone(err error) bool {
	database, ok := errors.AsType[*ledger.DatabaseError](err)
	if !ok {
		return false
	}
	pg, ok := errors.AsType[*pgconn.PgError](database.Err)
	return !ok || strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "53")
}

// LogFailure logs what went wrong on our side. What a client did wrong is its own business, and is not logged. No text of
// the database and nothing that a client sent reaches the log. The engine's errors are in it already, by its observer.
func LogFailure(logger *slog.Logger, r *http.Request, err error) {
	if _, ok := errors.AsType[*idempotency.Error](err); ok {
		return
	}
	failure := failureOf(err)
	if failure.Status < http.StatusInternalServerError || failure.cause == nil || r.Context().Err() != nil {
		return
	}
	logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "code", failure.Code,
		"cause", causeForLog(failure.cause))
}

func causeForLog(err error) string {
	if database, ok := errors.AsType[*ledger.DatabaseError](err); ok {
		return database.Error()
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "SQLSTATE " + pg.Code
	}
	if unknown, ok := errors.AsType[*psp.Unknown](err); ok {
		return unknown.Error() // it says how the provider failed, and nothing of the charge
	}
	if rejected, ok := errors.AsType[*psp.Rejected](err); ok {
		return fmt.Sprintf("the provider rejected the request: %d %s", rejected.Status, rejected.Code)
	}
	if errors.Is(err, ledger.ErrNotPending) {
		return ledger.ErrNotPending.Error()
	}
	return fmt.Sprintf("%T", err)
}

// LogPanic logs a recovered value and returns the failure to answer with. It is called while the stack of the panic is still
// there. The value itself is logged if the runtime made it; any other could hold what a client sent.
func LogPanic(logger *slog.Logger, r *http.Request, value any) error {
	what := "a value that was not logged"
	if err, ok := value.(runtime.Error); ok {
		what = err.Error()
	}
	logger.ErrorContext(r.Context(), "a handler panicked", "method", r.Method, "path", r.URL.Path, "panic", what,
		"stack", string(debug.Stack()))
	return errInternal
}
