package idempotency_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestTheDefaultPolicyOfEveryStatus(t *testing.T) {
	t.Parallel()
	released := map[int]bool{408: true, 409: true, 425: true, 429: true}
	for status := -1; status <= 1000; status++ {
		want := idempotency.Release
		switch {
		case status == 0, status >= 200 && status < 400:
			want = idempotency.Complete
		case status >= 400 && status < 500 && !released[status]:
			want = idempotency.Refuse
		}
		require.Equal(t, want, idempotency.DefaultPolicy(idempotency.Response{Status: status}, nil), "status %d", status)
	}
}

func TestTheDefaultPolicyOfAnErrorIsNotItsStatus(t *testing.T) {
	t.Parallel()
	refusal := &idempotency.Refusal{Reason: "no"}
	for _, status := range []int{0, 200, 402, 500} {
		response := idempotency.Response{Status: status}
		require.Equal(t, idempotency.Release, idempotency.DefaultPolicy(response, errors.New("mine")))
		require.Equal(t, idempotency.Release, idempotency.DefaultPolicy(response, idempotency.ErrTransactionConflict))
		require.Equal(t, idempotency.Refuse, idempotency.DefaultPolicy(response, refusal))
		require.Equal(t, idempotency.Refuse, idempotency.DefaultPolicy(response, fmt.Errorf("wrapped: %w", refusal)))
	}
}

func TestOutcomesHaveNames(t *testing.T) {
	t.Parallel()
	for outcome, name := range map[idempotency.Outcome]string{
		idempotency.Complete: "complete", idempotency.Refuse: "refuse", idempotency.Release: "release", 0: "invalid", 4: "invalid",
	} {
		require.Equal(t, name, outcome.String())
	}
}
