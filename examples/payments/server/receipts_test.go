package server_test

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/receipts"
)

var deliveredReceipt = regexp.MustCompile(`msg=receipt receipt=(\S+) card_payment=(\S+) account=(\S+)`)

func TestEachReceiptIsDeliveredOnceByTwoServers(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		p := startProvider(t)
		fast := func(o *options) { o.config.ReceiptsInterval = time.Millisecond }
		one := start(t, shell, withProvider(p), fast)
		two := start(t, shell, withProvider(p), fast, func(o *options) { o.databaseURL = one.db.Config().ConnString() })
		const payments = 12
		answers, err := sendAll(payments, func(i int) (answer, error) {
			return []*service{one, two}[i%2].try("POST", "/api/v1/card-payments", alice, byCard("tok_500_after_x1"), "Idempotency-Key", one.key(strconv.Itoa(i)))
		})
		require.NoError(t, err)
		for i := range answers {
			require.Equal(t, 503, answers[i].status, answers[i].body)
			require.Equal(t, 201, two.send("POST", "/api/v1/card-payments", alice, byCard("tok_500_after_x1"), "Idempotency-Key", one.key(strconv.Itoa(i))).status)
		}
		require.Equal(t, 402, one.payByCard(alice, "declined", byCard("tok_declined")).status)
		require.Eventually(t, func() bool {
			return one.number(`SELECT count(*) FROM receipts WHERE delivered_at IS NOT NULL`) == payments
		}, 15*time.Second, 5*time.Millisecond)
		one.stop()
		two.stop()
		require.NoError(t, <-one.stopped)
		require.NoError(t, <-two.stopped)

		seen := map[string]int{}
		for _, delivered := range deliveredReceipt.FindAllStringSubmatch(one.logs.String()+two.logs.String(), -1) {
			seen[delivered[2]]++
			require.Equal(t, "alice", delivered[3])
		}
		require.Len(t, seen, payments)
		for payment, times := range seen {
			require.Equal(t, 1, times, payment)
		}
		p.requireCharges(payments)
		one.requireCaptured(payments)
	})
}

// outbox returns a service with n receipts that nobody delivers.
func outbox(t *testing.T, n int) *service {
	t.Helper()
	s := start(t, "echo", withProvider(startProvider(t)))
	for i := range n {
		require.Equal(t, 201, s.payByCard(alice, "k-"+strconv.Itoa(i), byCard("tok_visa")).status)
	}
	return s
}

func TestWorkersThatDeliverAtTheSameTimeDoNotShareAReceipt(t *testing.T) {
	t.Parallel()
	s := outbox(t, 10)
	var mu sync.Mutex
	seen := map[string]int{}
	var both sync.WaitGroup // each is in the middle of its first batch when the other one takes its own
	both.Add(2)
	work := func() {
		arrive := sync.OnceFunc(both.Done)
		worker := receipts.NewWorker(s.db, func(_ context.Context, receipt receipts.Receipt) error {
			arrive()
			both.Wait()
			mu.Lock()
			defer mu.Unlock()
			seen[receipt.ID]++
			return nil
		}, quiet, receipts.Config{Batch: 3})
		for more := true; more; {
			var err error
			more, err = worker.Pass(context.Background())
			if err != nil {
				t.Error(err)
			}
		}
	}
	var workers sync.WaitGroup
	workers.Go(work)
	workers.Go(work)
	workers.Wait()
	require.Len(t, seen, 10)
	for id, times := range seen {
		require.Equal(t, 1, times, id)
	}
	require.Zero(t, s.number(`SELECT count(*) FROM receipts WHERE delivered_at IS NULL`))
}

func TestAReceiptThatCannotBeDeliveredDoesNotKeepTheOthersFromIt(t *testing.T) {
	t.Parallel()
	s := outbox(t, 3)
	broken := errors.New("private words")
	first, failing := "", true
	worker := receipts.NewWorker(s.db, func(_ context.Context, receipt receipts.Receipt) error {
		if first == "" {
			first = receipt.ID
		}
		if failing && receipt.ID == first {
			return broken
		}
		return nil
	}, quiet, receipts.Config{})
	_, err := worker.Pass(t.Context())
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, first)
	require.NotContains(t, err.Error(), "private")
	require.EqualValues(t, 1, s.number(`SELECT count(*) FROM receipts WHERE delivered_at IS NULL AND id = $1`, first))
	require.EqualValues(t, 2, s.number(`SELECT count(*) FROM receipts WHERE delivered_at IS NOT NULL`))
	failing = false
	_, err = worker.Pass(t.Context())
	require.NoError(t, err)
	require.Zero(t, s.number(`SELECT count(*) FROM receipts WHERE delivered_at IS NULL`))
}

// At least once: this is the "twice", and the receiver tells by the id.
func TestAWorkerThatDiesBeforeItsCommitLeavesTheReceiptToBeDeliveredAgain(t *testing.T) {
	t.Parallel()
	s := outbox(t, 1)
	name := s.key("worker")
	settings := s.db.Config()
	settings.ConnConfig.RuntimeParams["application_name"] = name
	pool, err := pgxpool.NewWithConfig(t.Context(), settings)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	var seen []string
	worker := receipts.NewWorker(pool, func(_ context.Context, receipt receipts.Receipt) error {
		seen = append(seen, receipt.ID)
		if len(seen) == 1 {
			require.EqualValues(t, 1, s.number(`SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE application_name = $1`, name))
		}
		return nil
	}, quiet, receipts.Config{})
	_, err = worker.Pass(t.Context())
	require.Error(t, err)
	require.EqualValues(t, 1, s.number(`SELECT count(*) FROM receipts WHERE delivered_at IS NULL`))
	_, err = worker.Pass(t.Context())
	require.NoError(t, err)
	require.Len(t, seen, 2)
	require.Equal(t, seen[0], seen[1])
}
