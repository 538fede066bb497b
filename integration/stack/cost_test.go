package stack

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// plainly is the payment in a transaction of pgx's own, with nothing between.
func plainly(ctx context.Context, s *server, key string) error {
	r := httptest.NewRequest("POST", "/payments", nil)
	r.Header.Set("Account", "alice")
	r.Header.Set("Idempotency-Key", key)
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := pay(ctx, tx, r)
		return err
	})
}

// trips counts round trips. A slow machine makes pgxpool look, now and then, whether its connection lives.
func trips(proxy *wireproxy.Proxy) int {
	n := proxy.RoundTrips()
	for _, s := range proxy.Executed() {
		if isPing(s) {
			n--
		}
	}
	return n
}

func TestAFreshRequestTakesNoMoreRoundTripsThanItsPlainTransaction(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy, url := w.behind(t, wireproxy.Config{})
			// One connection, so that whatever is prepared once for each is prepared.
			s := startServer(t, settings{URL: url, Mode: mode, Connections: 1})
			fresh := func(i int) int {
				proxy.Forget()
				require.Equal(t, 201, s.send(payFor("alice", fmt.Sprintf("fresh-%d", i))).status)
				return trips(proxy)
			}
			plain := func(i int) int {
				proxy.Forget()
				require.NoError(t, plainly(deadline(t), s, fmt.Sprintf("plain-%d", i)))
				return trips(proxy)
			}
			fresh(0)
			plain(0)

			protected, plainTrips := fresh(1), plain(1)

			fresh(2)
			t.Logf("round trips: %d plain, %d protected:\n%s", plainTrips, protected, wireproxy.Lines(proxy.Statements()))
			if mode == pgx.QueryExecModeDescribeExec {
				// Describes what has parameters, every time: the claim, and the record.
				assert.LessOrEqual(t, protected, plainTrips+2)
				return
			}
			assert.Equal(t, plainTrips, protected)
		})
	}
}

func TestAReplayTakesOneRoundTripInTheProcessThatKnowsTheKey(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy, url := w.behind(t, wireproxy.Config{})
			s := startServer(t, settings{URL: url, Mode: mode, Connections: 1})
			first := s.send(payFor("alice", "key"))
			require.Equal(t, 201, first.status)
			wantSame(t, first, s.send(payFor("alice", "key"))) // prepares the read

			proxy.Forget()
			replay := s.send(payFor("alice", "key"))

			wantSame(t, first, replay)
			assert.True(t, replay.replayed)
			want := 1
			if mode == pgx.QueryExecModeDescribeExec {
				want = 2
			}
			assert.Equal(t, want, trips(proxy), wireproxy.Lines(proxy.Statements()))
		})
	}
}

func TestAReplayElsewhereIsAnsweredAfterOneRoundTrip(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		if mode == pgx.QueryExecModeDescribeExec {
			continue // two, as with anything that has parameters
		}
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy, url := w.behind(t, wireproxy.Config{})
			// Were the answer to wait for the end of its transaction, it would wait for longer than this test does.
			s := startServer(t, settings{URL: url, Mode: mode, Connections: 1, Timeout: 2 * patience})
			elsewhere := startServer(t, settings{URL: w.url, Mode: mode})
			require.Equal(t, 201, s.send(payFor("alice", "warm")).status)
			first := elsewhere.send(payFor("alice", "key"))
			require.Equal(t, 201, first.status)

			// What ends the transaction behind the client's back is held up: the answer does not wait for it.
			proxy.Forget()
			rollback := proxy.At(func(s wireproxy.Statement) bool {
				return strings.EqualFold(strings.TrimRight(s.SQL, ";"), "rollback")
			}, wireproxy.Stop)
			defer rollback.Resume()
			replay := result(t, s.start(payFor("alice", "key")))
			await(t, "the transaction is to end", rollback.Reached())
			wantSame(t, first, replay)
			assert.True(t, replay.replayed)
			assert.Equal(t, 2, trips(proxy), "the one that the answer took, and the rollback:\n%s", wireproxy.Lines(proxy.Statements()))
		})
	}
}
