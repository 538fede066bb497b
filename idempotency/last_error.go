package idempotency

import (
	"errors"
	"fmt"
	"strings"
)

// databaseError is what drivers call an error that the database reported. Its text may quote a value.
type databaseError interface {
	error
	SQLState() string
}

// lastError is what an operator finds in the row of a key that did not get on. Where what is stored is sealed, it is only what cannot
// hold data: the code, and SQLSTATEs. Else it is the error's text, in which every database error that can be unwrapped gives way to its
// SQLSTATE; what the handler has made words of its own of stays.
//
// The error's methods are not ours: with a nil pointer in it they panic, and then it is the code of an internal error. What an operator
// may read must not decide what the client gets.
func (e *Engine) lastError(cause error, status int) (text string) {
	defer func() {
		if recover() != nil {
			text = string(CodeInternal)
		}
	}()
	if cause == nil {
		return fmt.Sprintf("the handler answered %d", status)
	}
	var found []databaseError
	found = databaseErrors(found, cause)
	if e.seals() {
		text = string(codeOf(cause))
		for _, d := range found {
			text += ", SQLSTATE " + sqlState(d)
		}
		return shortened(text)
	}
	text = cause.Error()
	for _, d := range found {
		text = strings.ReplaceAll(text, d.Error(), "SQLSTATE "+sqlState(d))
	}
	return shortened(text)
}

// codeOf returns the code of err, if it is one of ours.
func codeOf(err error) Code {
	var own *Error
	if errors.As(err, &own) {
		if _, ok := meanings[own.Code]; ok {
			return own.Code
		}
	}
	return CodeInternal
}

// databaseErrors adds every error to found, in err's tree, that a database reported.
func databaseErrors(found []databaseError, err error) []databaseError {
	if d, ok := err.(databaseError); ok {
		found = append(found, d)
	}
	switch wrapping := err.(type) {
	case interface{ Unwrap() error }:
		if inner := wrapping.Unwrap(); inner != nil {
			found = databaseErrors(found, inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range wrapping.Unwrap() {
			found = databaseErrors(found, inner)
		}
	}
	return found
}

// sqlState returns five characters, whatever the driver says.
func sqlState(d databaseError) string {
	state := d.SQLState()
	if len(state) != 5 || strings.Trim(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "?????"
	}
	return state
}

// shortened returns what a column of text takes, and not more than 500 bytes of it.
func shortened(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), 500)], "?")
	return strings.ReplaceAll(text, "\x00", "?")
}
