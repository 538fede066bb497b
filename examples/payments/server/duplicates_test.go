package server_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/server"
)

// sendAll sends n requests at once and returns their answers.
func sendAll(n int, send func(i int) (answer, error)) ([]answer, error) {
	answers, failures := make([]answer, n), make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			answers[i], failures[i] = send(i)
		})
	}
	close(start)
	all.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func TestConcurrentDuplicatesOverTwoServersPayOnce(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		one := start(t, shell)
		two := start(t, shell, func(o *options) { o.databaseURL = one.db.Config().ConnString() })
		answers, err := sendAll(60, func(i int) (answer, error) {
			return []*service{one, two}[i%2].try("POST", "/api/v1/payments", alice, oneDollar, "Idempotency-Key", one.key("k-1"))
		})
		require.NoError(t, err)
		first := 0
		for _, a := range answers {
			require.Equal(t, 201, a.status, a.body)
			require.Equal(t, answers[0].body, a.body)
			if a.header.Get("Idempotent-Replayed") == "" {
				first++
			}
		}
		require.Equal(t, 1, first, "one of them is the payment, the others are replays")
		one.requireBooks(1)
	})
}

func TestADuplicateThatMayNotWaitIsToldToComeBack(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell, func(o *options) { o.config.Wait = 0 })
		release := s.lockAccount("alice")
		first := s.startBlockedPayment(alice, "k-1", oneDollar)
		duplicate := s.pay(alice, "k-1", oneDollar)
		require.Equal(t, 409, duplicate.status)
		require.Equal(t, "in-progress", duplicate.code(t))
		require.NotEmpty(t, duplicate.header.Get("Retry-After"))

		release()
		require.Equal(t, 201, (<-first).status)
		require.Equal(t, 201, s.pay(alice, "k-1", oneDollar).status)
		s.requireBooks(1)
	})
}

func TestConcurrentPaymentsNeverOverdrawAnAccount(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		// Bob has 50,000: 12 of these are covered.
		answers, err := sendAll(30, func(i int) (answer, error) {
			return s.try("POST", "/api/v1/payments", bob, `{"amount":4000,"currency":"USD"}`, "Idempotency-Key", s.key("k-"+strconv.Itoa(i)))
		})
		require.NoError(t, err)
		statuses := map[int]int{}
		for _, a := range answers {
			statuses[a.status]++
		}
		require.Equal(t, map[int]int{201: 12, 402: 18}, statuses)
		require.EqualValues(t, 2000, s.number(`SELECT balance FROM accounts WHERE id = 'bob'`))
		s.requireBooks(12)
	})
}

func TestAPaymentWhoseConnectionIsKilledIsDoneOnceByItsRetry(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell, func(o *options) {
			o.configure = func(pool *pgxpool.Config) { pool.ConnConfig.RuntimeParams["application_name"] = "victim" }
		})
		release := s.lockAccount("alice")
		first := s.startBlockedPayment(alice, "k-1", oneDollar)
		require.EqualValues(t, 1, s.number(`SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
			WHERE NOT l.granted AND a.application_name = 'victim'
			AND EXISTS (SELECT FROM pg_locks o WHERE o.pid = l.pid AND o.relation = 'accounts'::regclass)`))
		killed := <-first
		require.GreaterOrEqual(t, killed.status, 500, killed.body)
		require.Equal(t, true, killed.json(t)["retryable"])
		require.Equal(t, "reuse", killed.json(t)["key_action"])
		require.NotContains(t, killed.body, "terminating")
		release()

		retry := s.pay(alice, "k-1", oneDollar)
		require.Equal(t, 201, retry.status, retry.body)
		require.Empty(t, retry.header.Get("Idempotent-Replayed"), "the killed attempt left nothing to replay")
		s.requireBooks(1)
	})
}

func TestSeedingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, "echo")
	require.Equal(t, 201, s.pay(alice, "k-1", oneDollar).status)
	require.NoError(t, server.SeedDatabase(t.Context(), s.db))
	require.EqualValues(t, 99_900, s.number(`SELECT balance FROM accounts WHERE id = 'alice'`))
	s.requireBooks(1)
}
