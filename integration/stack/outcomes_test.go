package stack

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestEveryOutcomeInEveryExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			with := settings{URL: w.url, Mode: mode}
			s, other := startServer(t, with), startServer(t, with)

			for _, test := range []struct {
				path   string
				status int
				code   string
				// kept: a retry is answered by the same bytes. Else it runs the handler again.
				kept bool
				did  effects
			}{
				{"/payments", http.StatusCreated, "", true, once},
				{"/refused", http.StatusPaymentRequired, "", true, refused},
				{"/fails", http.StatusInternalServerError, "", false, never},
				{"/busy", http.StatusConflict, "", false, never},
				{"/swallows", http.StatusInternalServerError, "transaction-aborted", false, never},
			} {
				t.Run(test.path, func(t *testing.T) {
					r := payFor("alice", strings.Trim(test.path, "/")).to(test.path)
					claimed := len(s.events.of(idempotency.Claimed)) + len(other.events.of(idempotency.Claimed))
					first, second, third := s.send(r), s.send(r), other.send(r)
					ran := len(s.events.of(idempotency.Claimed)) + len(other.events.of(idempotency.Claimed)) - claimed
					assert.Equal(t, test.status, first.status, first.body)
					assert.Equal(t, test.code, first.code())
					assert.False(t, first.replayed)
					if test.kept {
						assert.Equal(t, 1, ran)
						wantSame(t, first, second)
						wantSame(t, first, third)
						assert.True(t, second.replayed)
						assert.True(t, third.replayed)
					} else {
						assert.Equal(t, 3, ran)
						assert.False(t, second.replayed)
						assert.Equal(t, test.status, third.status)
					}
					assert.Equal(t, test.did, w.effects(t, r.key))
				})
			}
			w.wantBalanced(t)
		})
	}
}

func TestAKeyThatIsAtWorkElsewhereConflictsInEveryExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			with := settings{URL: w.url, Mode: mode}
			busy, point := stopped(t, w, with, isPaymentInsert)
			other := startServer(t, with)
			first := busy.start(payFor("alice", "key"))
			reach(t, point, first)

			for _, s := range []*server{busy, other} {
				conflict := s.send(payFor("alice", "key"))
				assert.Equal(t, http.StatusConflict, conflict.status)
				assert.Equal(t, "in-progress", conflict.code())
				assert.Equal(t, "1", conflict.header.Get("Retry-After"))
			}
			point.Resume()

			wantSame(t, result(t, first), other.send(payFor("alice", "key")))
			assert.Equal(t, once, w.effects(t, "key"))
		})
	}
}

func TestAHandlerThatCommitsByItselfIsFoundOutInEveryExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := startServer(t, settings{URL: w.url, Mode: mode})

			r := s.send(payFor("alice", "key").to("/commits"))

			assert.Equal(t, http.StatusInternalServerError, r.status)
			assert.Equal(t, "transaction-ended", r.code())
			require.Len(t, s.events.of(idempotency.Failed), 1)
			assert.Equal(t, effects{Payments: 1, Ledger: 2}, w.effects(t, "key"), "what it committed is there, and no answer is kept")
		})
	}
}

func TestOneKeyForTwoRequestsIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alice", "bob")
	s := startServer(t, settings{URL: w.url})
	first := s.send(payFor("alice", "key"))

	reused := s.send(payFor("alice", "key").to("/nothing"))
	assert.Equal(t, http.StatusUnprocessableEntity, reused.status)
	assert.Equal(t, "key-reused", reused.code())

	bobs := s.send(payFor("bob", "key"))
	assert.Equal(t, http.StatusCreated, bobs.status, "another account's key is another key")
	assert.NotEqual(t, first.body, bobs.body)
	assert.Equal(t, effects{Payments: 2, Ledger: 4, Keys: 2}, w.effects(t, "key"))
}
