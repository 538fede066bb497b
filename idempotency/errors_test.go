package idempotency_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// The contract with clients: what each code is answered with. A change here breaks them.
func TestWhatEachCodeMeansForAClient(t *testing.T) {
	t.Parallel()
	reuse, rotate := idempotency.Reuse, idempotency.Rotate
	cases := []struct {
		sentinel  *idempotency.Error
		code      string
		status    int
		retryable bool
		action    idempotency.KeyAction
		after     time.Duration
	}{
		{idempotency.ErrKeyMissing, "key-missing", 400, false, rotate, 0},
		{idempotency.ErrKeyInvalid, "key-invalid", 400, false, rotate, 0},
		{idempotency.ErrScopeMissing, "scope-missing", 403, false, reuse, 0},
		{idempotency.ErrInProgress, "in-progress", 409, true, reuse, time.Second},
		{idempotency.ErrKeyReused, "key-reused", 422, false, rotate, 0},
		{idempotency.ErrRequestTooLarge, "request-too-large", 413, false, reuse, 0},
		{idempotency.ErrRequestUnreadable, "request-unreadable", 400, true, reuse, 0},
		{idempotency.ErrResponseTooLarge, "response-too-large", 500, false, reuse, 0},
		{idempotency.ErrStoreUnavailable, "store-unavailable", 503, true, reuse, time.Second},
		{idempotency.ErrOutcomeUnknown, "outcome-unknown", 503, true, reuse, time.Second},
		{idempotency.ErrTransactionConflict, "transaction-conflict", 503, true, reuse, time.Second},
		{idempotency.ErrTransactionAborted, "transaction-aborted", 500, true, reuse, 0},
		{idempotency.ErrTransactionEnded, "transaction-ended", 500, false, reuse, 0},
		{idempotency.ErrRecordUnreadable, "record-unreadable", 500, false, reuse, 0},
		{idempotency.ErrNested, "nested", 500, false, reuse, 0},
		{idempotency.ErrLeaseLost, "lease-lost", 409, true, reuse, time.Second},
		{idempotency.ErrStepsChanged, "steps-changed", 503, true, reuse, 10 * time.Second},
		{idempotency.ErrStepMisuse, "step-misuse", 500, false, reuse, 0},
		{idempotency.ErrTooManyPending, "too-many-pending", 429, true, reuse, time.Second},
		{idempotency.ErrInternal, "internal", 500, false, reuse, 0},
	}
	require.Len(t, cases, len(idempotency.Codes()))
	for _, c := range cases {
		code := idempotency.Code(c.code)
		require.Contains(t, idempotency.Codes(), code)
		require.Equal(t, code, c.sentinel.Code)
		require.Equal(t, c.status, code.Status(), code)
		require.Equal(t, c.retryable, code.Retryable(), code)
		require.Equal(t, c.action, code.KeyAction(), code)
		require.Equal(t, c.after, c.sentinel.RetryAfter, code)
		require.NotEmpty(t, code.Title())
		if c.retryable {
			require.Equal(t, reuse, code.KeyAction(), "a retry of %s under a new key may happen twice", code)
		}
	}
}

// A message is of use if it says what happened and what follows for the one who reads it: what to send, or that the
// operation did not take effect.
func TestEveryMessageSaysWhatToDoOrWhatBecameOfTheOperation(t *testing.T) {
	t.Parallel()
	for _, code := range idempotency.Codes() {
		text := (&idempotency.Error{Code: code}).Error()
		require.Regexp(t, `^idempotency: `+string(code)+`: [A-Z].*\.$`, text)
		require.Regexp(t, `[Ss]end |must be |not processed|rolled back|not repeated|Do not repeat|Nothing of`, text)
		if code.Retryable() {
			require.Regexp(t, `[Ss]end it again`, text)
		}
	}
}

func TestErrorsAreMatchedByTheirCode(t *testing.T) {
	t.Parallel()
	for i, code := range idempotency.Codes() {
		for j, other := range idempotency.Codes() {
			wrapped := fmt.Errorf("outer: %w", &idempotency.Error{Code: code, Detail: "another text"})
			require.Equal(t, i == j, errors.Is(wrapped, &idempotency.Error{Code: other}), "%s and %s", code, other)
		}
	}
	require.NotErrorIs(t, idempotency.ErrNested, io.EOF)
	require.NotErrorIs(t, io.EOF, idempotency.ErrNested)
}

func TestAnUnknownCodeIsAnsweredAsInternal(t *testing.T) {
	t.Parallel()
	code := idempotency.Code("of-a-later-release")
	require.Equal(t, 500, code.Status())
	require.False(t, code.Retryable())
	require.Equal(t, idempotency.ErrInternal.Code.Title(), code.Title())
}

func TestACauseIsAddedToACopy(t *testing.T) {
	t.Parallel()
	err := idempotency.ErrStoreUnavailable.Because(io.ErrUnexpectedEOF)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Same(t, io.ErrUnexpectedEOF, err.Unwrap())
	require.Contains(t, err.Error(), "(unexpected EOF)")
	require.Equal(t, idempotency.ErrStoreUnavailable.RetryAfter, err.RetryAfter)
	require.NotContains(t, err.Detail, "EOF", "the cause is in what a client gets")
	require.NoError(t, idempotency.ErrStoreUnavailable.Unwrap(), "the sentinel was changed")
}

func TestAsErrorFindsOursAndTakesTheRestForInternal(t *testing.T) {
	t.Parallel()
	require.Same(t, idempotency.ErrInProgress, idempotency.AsError(fmt.Errorf("outer: %w", idempotency.ErrInProgress)))
	joined := errors.Join(io.EOF, idempotency.ErrKeyReused)
	require.Same(t, idempotency.ErrKeyReused, idempotency.AsError(joined))
	foreign := idempotency.AsError(io.EOF)
	require.Equal(t, idempotency.CodeInternal, foreign.Code)
	require.ErrorIs(t, foreign, io.EOF)
	require.NotContains(t, foreign.Detail, "EOF")
}
