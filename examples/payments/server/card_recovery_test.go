package server_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// requireUnknown checks that a client is told to come back with the same key, and that the payment waits for it.
func (s *service) requireUnknown(got answer) {
	s.t.Helper()
	require.Equal(s.t, 503, got.status, got.body)
	require.Equal(s.t, "provider-unavailable", got.code(s.t))
	require.Equal(s.t, true, got.json(s.t)["retryable"])
	require.Equal(s.t, "reuse", got.json(s.t)["key_action"])
	require.NotEmpty(s.t, got.header.Get("Retry-After"))
	require.Equal(s.t, "pending", s.get(alice, got.header.Get("Location")).json(s.t)["status"])
	require.EqualValues(s.t, 1, s.number(`SELECT count(*) FROM idempotency_keys WHERE state = 'pending' AND recovery_point = 'payment_created'`))
	s.requireCaptured(0)
}

func TestAProviderThatFailsIsAskedAgainByTheRetryAndChargesOnce(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		for card, charged := range map[string]int{"tok_500_before_x1": 0, "tok_500_after_x1": 1, "tok_drop_x1": 1} {
			t.Run(card, func(t *testing.T) {
				t.Parallel()
				p := startProvider(t)
				s := start(t, shell, withProvider(p))
				unknown := s.payByCard(alice, "k-1", byCard(card))
				s.requireUnknown(unknown)
				p.requireCharges(charged)

				paid := s.payByCard(alice, "k-1", byCard(card))
				require.Equal(t, 201, paid.status, paid.body)
				require.Empty(t, paid.header.Get("Idempotent-Replayed"))
				require.Equal(t, unknown.header.Get("Location"), paid.header.Get("Location"), "it is the payment that was begun")
				again := s.payByCard(alice, "k-1", byCard(card))
				require.Equal(t, paid.body, again.body)
				require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))

				p.requireCharges(1)
				require.EqualValues(t, 2, p.attempts.Load())
				require.EqualValues(t, 1, s.number(`SELECT count(*) FROM card_payments`))
				s.requireCaptured(1)
			})
		}
	})
}

// at stops the provider at a stage, each time that it gets there, until release is called.
func at(t *testing.T, stage psp.Stage) (reached <-chan struct{}, release func(), change func(*psp.Config)) {
	arrived, gate := make(chan struct{}, 16), make(chan struct{})
	release = func() {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
	t.Cleanup(release)
	return arrived, release, func(c *psp.Config) {
		c.At = func(_ context.Context, now psp.Stage, _ string) {
			if now == stage {
				arrived <- struct{}{}
				<-gate
			}
		}
	}
}

func await(t *testing.T, reached <-chan struct{}) {
	t.Helper()
	select {
	case <-reached:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody got there")
	}
}

func TestAProviderThatIsSlowerThanTheTimeoutChargesOnce(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		_, release, stopping := at(t, psp.BeforeCharge)
		p := startProvider(t, stopping)
		s := start(t, shell, withProvider(p), func(o *options) { o.config.PSPTimeout = 100 * time.Millisecond })
		s.requireUnknown(s.payByCard(alice, "k-1", byCard("tok_visa")))
		s.requireUnknown(s.payByCard(alice, "k-1", byCard("tok_visa"))) // the provider says that it is in progress
		release()
		require.Eventually(t, func() bool {
			return s.payByCard(alice, "k-1", byCard("tok_visa")).status == 201
		}, 10*time.Second, 5*time.Millisecond)
		p.requireCharges(1)
		s.requireCaptured(1)
	})
}

func TestTheCompleterFinishesWhatNobodyComesBackFor(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		for _, card := range []string{"tok_hang_x1", "tok_500_after_x1", "tok_drop_x1"} {
			t.Run(card, func(t *testing.T) {
				t.Parallel()
				p := startProvider(t)
				s := start(t, shell, withProvider(p), func(o *options) {
					o.config.PSPTimeout = 500 * time.Millisecond
					o.config.CompleterInterval = 20 * time.Millisecond
				})
				unknown := s.payByCard(alice, "k-1", byCard(card))
				require.Equal(t, 503, unknown.status, unknown.body)
				require.Equal(t, "provider-unavailable", unknown.code(t))
				location := unknown.header.Get("Location")
				require.Eventually(t, func() bool {
					return s.get(alice, location).json(t)["status"] == "captured"
				}, 15*time.Second, 10*time.Millisecond)

				paid := s.payByCard(alice, "k-1", byCard(card))
				require.Equal(t, 201, paid.status, paid.body)
				require.Equal(t, "true", paid.header.Get("Idempotent-Replayed"), "the completer's response is the client's")
				require.Equal(t, location, paid.header.Get("Location"))
				require.Equal(t, s.get(alice, location).body, paid.body)
				require.Equal(t, 404, s.get(bob, location).status, "it is resumed for the account that it was begun for")
				p.requireCharges(1)
				s.requireCaptured(1)
			})
		}
	})
}

// What is charged is booked though the process loses its database between the two, and the provider is not asked again.
func TestAChargeThatCouldNotBeBookedIsBookedByTheRetry(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		p := startProvider(t)
		s := start(t, shell, withProvider(p), func(o *options) {
			o.configure = func(pool *pgxpool.Config) { pool.ConnConfig.RuntimeParams["application_name"] = "victim" }
		})
		release := s.lockAccount("alice")
		first := s.begin("/api/v1/card-payments", alice, "k-1", byCard("tok_visa"))
		s.awaitBlocked(first)
		require.EqualValues(t, 1, s.number(`SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
			WHERE NOT l.granted AND a.application_name = 'victim'
			AND EXISTS (SELECT FROM pg_locks o WHERE o.pid = l.pid AND o.relation = 'accounts'::regclass)`))
		killed := <-first
		require.GreaterOrEqual(t, killed.status, 500, killed.body)
		require.Equal(t, true, killed.json(t)["retryable"])
		require.Equal(t, "reuse", killed.json(t)["key_action"])
		release()
		s.requireCaptured(0)
		require.EqualValues(t, 1, s.number(`SELECT count(*) FROM idempotency_keys WHERE recovery_point = 'card_charged'`))

		retry := s.payByCard(alice, "k-1", byCard("tok_visa"))
		require.Equal(t, 201, retry.status, retry.body)
		require.Empty(t, retry.header.Get("Idempotent-Replayed"))
		require.EqualValues(t, 1, p.attempts.Load())
		p.requireCharges(1)
		s.requireCaptured(1)
	})
}

func TestNoTransactionIsOpenWhileTheProviderTakesItsTime(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		reached, release, stopping := at(t, psp.BeforeCharge)
		p := startProvider(t, stopping)
		s := start(t, shell, withProvider(p), func(o *options) {
			o.configure = func(pool *pgxpool.Config) { pool.MaxConns = 1 }
		})
		first := s.begin("/api/v1/card-payments", alice, "k-1", byCard("tok_visa"))
		await(t, reached)
		require.Equal(t, 201, s.pay(alice, "k-2", oneDollar).status, "the pool's only connection is free")
		release()
		require.Equal(t, 201, (<-first).status)
		s.requireCaptured(1)
		s.requireBooks(1)
	})
}

func TestShutdownFinishesTheCardPaymentThatRuns(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		reached, release, stopping := at(t, psp.AfterCharge)
		p := startProvider(t, stopping)
		s := start(t, shell, withProvider(p))
		first := s.begin("/api/v1/card-payments", alice, "k-1", byCard("tok_visa"))
		await(t, reached)
		s.stop()
		release()
		require.Equal(t, 201, (<-first).status)
		require.NoError(t, <-s.stopped)
		s.requireCaptured(1)
	})
}

func TestShutdownFinishesTheCardPaymentThatTheCompleterHasTakenOn(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		reached, release, stopping := at(t, psp.AfterCharge)
		p := startProvider(t, stopping)
		s := start(t, shell, withProvider(p), func(o *options) { o.config.CompleterInterval = 20 * time.Millisecond })
		require.Equal(t, http.StatusServiceUnavailable, s.payByCard(alice, "k-1", byCard("tok_500_before_x1")).status)
		await(t, reached) // by the completer
		s.stop()
		select {
		case err := <-s.stopped:
			t.Fatalf("the server ended, with %v, while the completer ran", err)
		default:
		}
		release()
		require.NoError(t, <-s.stopped)
		p.requireCharges(1)
		s.requireCaptured(1)
	})
}
