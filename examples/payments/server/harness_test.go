package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/pgstore"

	"github.com/onlyonce/onlyonce/examples/payments/server"
)

// eachShell runs a test against Echo and against net/http: they must not differ.
func eachShell(t *testing.T, test func(t *testing.T, shell string)) {
	t.Helper()
	for _, shell := range []string{"echo", "nethttp"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			test(t, shell)
		})
	}
}

// newSchema returns the URL of an empty schema of its own, which is dropped when the test ends.
func newSchema(t *testing.T) string {
	t.Helper()
	base := os.Getenv("DATABASE_URL")
	if base == "" {
		t.Fatal("DATABASE_URL is not set: run `make test` at the root of the repository, which finds or starts a database, or set it to one yourself")
	}
	parsed, err := url.Parse(base)
	require.NoError(t, err, "DATABASE_URL must be a postgres:// URL")
	schema := "payments_" + strings.ToLower(rand.Text())
	query := parsed.Query()
	query.Set("search_path", schema)
	parsed.RawQuery = query.Encode()

	conn, err := pgx.Connect(t.Context(), base)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, _ = conn.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE")
		_ = conn.Close(ctx)
	})
	return parsed.String()
}

// service is a running server, and a way to its tables that the server does not share.
type service struct {
	t    *testing.T
	url  string
	db   *pgxpool.Pool
	logs *logBuffer
	// stop asks the server to shut down; stopped gets what Serve returned.
	stop    context.CancelFunc
	stopped chan error
}

type options struct {
	databaseURL string
	configure   func(*pgxpool.Config)
	config      server.Config
	provider    bool // cards can be charged
}

func start(t *testing.T, shell string, change ...func(*options)) *service {
	t.Helper()
	o := options{config: server.Config{Shell: shell, Wait: 10 * time.Second, ShutdownTimeout: 20 * time.Second,
		PSPURL: "http://127.0.0.1:1", CompleterInterval: time.Hour, ReceiptsInterval: time.Hour}}
	for _, c := range change {
		c(&o)
	}
	if o.databaseURL == "" {
		o.databaseURL = newSchema(t)
	}
	logs := &logBuffer{}
	logger := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	require.NoError(t, server.MigrateDatabase(t.Context(), o.databaseURL, logger))

	db, err := pgxpool.New(t.Context(), o.databaseURL)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	require.NoError(t, server.SeedDatabase(t.Context(), db))

	settings, err := pgxpool.ParseConfig(o.databaseURL)
	require.NoError(t, err)
	settings.MaxConns = 8
	require.NoError(t, pgstore.Configure(settings, pgstore.PoolConfig{}))
	look := &firstLook{taken: make(chan struct{})}
	if o.provider {
		settings.ConnConfig.Tracer = look
	}
	if o.configure != nil {
		o.configure(settings)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), settings)
	require.NoError(t, err)
	s, err := server.New(pool, o.config, logger)
	require.NoError(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)

	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	running := &service{t, "http://" + listener.Addr().String(), db, logs, stop, make(chan error, 1)}
	go func() { running.stopped <- s.Serve(ctx, listener); close(running.stopped) }()
	t.Cleanup(func() { stop(); <-running.stopped })
	if o.provider {
		select {
		case <-look.taken:
		case <-time.After(20 * time.Second):
			t.Fatal("the completer has not looked for pending payments")
		}
	}
	return running
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T) (members map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), &members), a.body)
	return members
}

func (a answer) code(t *testing.T) any {
	t.Helper()
	return a.json(t)["code"]
}

const (
	alice = "demo_alice"
	bob   = "demo_bob"
)

func (s *service) send(method, path, token, body string, headers ...string) answer {
	s.t.Helper()
	got, err := s.try(method, path, token, body, headers...)
	require.NoError(s.t, err)
	return got
}

// try is send for other goroutines than the test's.
func (s *service) try(method, path, token, body string, headers ...string) (answer, error) {
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	// A connection for each request: on one that it reuses, http.Transport would by itself repeat a request that carries an
	// Idempotency-Key.
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 30 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text)}, err
}

func (s *service) get(token, path string) answer {
	s.t.Helper()
	return s.send("GET", path, token, "")
}

func (s *service) pay(token, key, body string) answer {
	s.t.Helper()
	return s.send("POST", "/api/v1/payments", token, body, "Idempotency-Key", s.key(key))
}

// key makes name a key of this test's schema alone. Tests share a database, and with it the advisory locks: another test's
// payment of the same account and key would hold this one up.
func (s *service) key(name string) string {
	return s.db.Config().ConnConfig.RuntimeParams["search_path"] + "-" + name
}

func (s *service) number(query string, args ...any) (n int64) {
	s.t.Helper()
	require.NoError(s.t, s.db.QueryRow(s.t.Context(), query, args...).Scan(&n))
	return n
}

// requireBooks checks how many payments were made, and that the ledger balances: each payment has a debit and a credit that
// sum to zero, and each account holds the sum of its entries.
func (s *service) requireBooks(payments int) {
	s.t.Helper()
	require.EqualValues(s.t, payments, s.number(`SELECT count(*) FROM payments`), "payments")
	require.EqualValues(s.t, 2*payments, s.number(`SELECT count(*) FROM ledger_entries WHERE payment_id IS NOT NULL`), "entries")
	require.Zero(s.t, s.number(`SELECT count(*) FROM (
		SELECT 1 FROM payments p LEFT JOIN ledger_entries e ON e.payment_id = p.id GROUP BY p.id, p.amount
		HAVING count(*) <> 2 OR sum(e.amount) <> 0 OR max(e.amount) <> p.amount) wrong`), "payments without a debit and a credit")
	s.requireBalance()
}

func (s *service) requireBalance() {
	s.t.Helper()
	require.Zero(s.t, s.number(`SELECT sum(amount)::bigint FROM ledger_entries`), "sum of the ledger")
	require.Zero(s.t, s.number(`SELECT count(*) FROM accounts a WHERE balance IS NOT NULL
		AND balance <> (SELECT sum(amount) FROM ledger_entries e WHERE e.account_id = a.id)`), "accounts that do not hold the sum of their entries")
}

// lockAccount keeps an account from being paid from, or into, until release is called. A card payment into it can be recorded.
func (s *service) lockAccount(account string) (release func()) {
	s.t.Helper()
	tx, err := s.db.Begin(s.t.Context())
	require.NoError(s.t, err)
	_, err = tx.Exec(s.t.Context(), `SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE`, account)
	require.NoError(s.t, err)
	release = sync.OnceFunc(func() { _ = tx.Rollback(context.WithoutCancel(s.t.Context())) })
	s.t.Cleanup(release)
	return release
}

// startBlockedPayment sends a payment and returns once it waits for the account, which lockAccount has locked.
func (s *service) startBlockedPayment(token, key, body string) (first <-chan answer) {
	s.t.Helper()
	answers := s.begin("/api/v1/payments", token, key, body)
	s.awaitBlocked(answers)
	return answers
}

// begin sends a POST and does not wait for its answer. One that never comes has status 0.
func (s *service) begin(path, token, key, body string) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		a, err := s.try("POST", path, token, body, "Idempotency-Key", s.key(key))
		if err != nil {
			a.body = err.Error()
		}
		answers <- a
	}()
	return answers
}

// awaitBlocked returns once a payment waits for the account that lockAccount has locked.
func (s *service) awaitBlocked(answers <-chan answer) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s.number(`SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
			WHERE NOT l.granted AND a.query LIKE '%UPDATE accounts%' AND l.pid <> pg_backend_pid()
			AND EXISTS (SELECT FROM pg_locks o WHERE o.pid = l.pid AND o.relation = 'accounts'::regclass)`) > 0 {
			return
		}
		select {
		case early := <-answers:
			require.FailNow(s.t, "the payment did not wait for the account", "%d %s", early.status, early.body)
		default:
			require.True(s.t, time.Now().Before(deadline), "no payment waits for the account")
		}
	}
}

// logBuffer is an io.Writer for loggers of many goroutines.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
