package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/pgstore"

	example "github.com/onlyonce/onlyonce/examples/payments/server"
)

// cardVariable makes this test binary a process of the payments example; it holds the settings.
const cardVariable = "ONLYONCE_STACK_CARDS"

// cardSettings are what a server of the payments example is started with. They are handed to a process as JSON.
type cardSettings struct {
	URL               string
	Provider          string
	Shell             string // "": nethttp
	Connections       int    // 0: 4
	BehindPooler      bool
	Lock              pgstore.Lock // "": that of the run
	IdleInTransaction time.Duration
	Lease             time.Duration
	Completer         time.Duration // its interval
	// Whole is a server as it is deployed, with completer, reaper and receipts, once it is given the word. Otherwise the process
	// does nothing but answer requests, so that a test knows each of its statements.
	Whole bool
}

// open wires the server up.
func (s cardSettings) open(logs io.Writer) (*example.Server, func(), error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, nil, fmt.Errorf("the database's URL: %w", err)
	}
	if s.Connections == 0 {
		s.Connections = 4
	}
	if s.Lock == "" {
		s.Lock = pgstore.Lock(os.Getenv(lockVariable))
	}
	if s.Shell == "" {
		s.Shell = "nethttp"
	}
	query := u.Query()
	query.Set("pool_max_conns", strconv.Itoa(s.Connections))
	u.RawQuery = query.Encode()
	pool, err := pgstore.NewPool(context.Background(), u.String(), pgstore.PoolConfig{
		IdleInTransaction: s.IdleInTransaction, BehindPooler: s.BehindPooler,
	})
	if err != nil {
		return nil, nil, err
	}
	served, err := example.New(pool, example.Config{
		Shell: s.Shell, PSPURL: s.Provider, Lease: s.Lease, CompleterInterval: s.Completer, ShutdownTimeout: time.Second,
		Store: pgstore.Config{Lock: s.Lock},
	}, slog.New(slog.NewTextHandler(logs, nil)))
	return served, pool.Close, err
}

// cardProcess serves until it is killed, or until the test that started it is gone.
func cardProcess(encoded string) int {
	begin := word()
	if err := serveCards(encoded, begin); err != nil {
		fmt.Fprintln(os.Stderr, "server process:", err)
		return 1
	}
	return 0
}

func serveCards(encoded string, begin <-chan struct{}) error {
	var with cardSettings
	if err := json.Unmarshal([]byte(encoded), &with); err != nil {
		return err
	}
	served, _, err := with.open(os.Stderr)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	listening(listener)
	if !with.Whole {
		return http.Serve(listener, served.Handler)
	}
	<-begin
	return served.Serve(context.Background(), listener)
}

// startCards runs a server of the example in a process of its own. What it logs is shown if the test fails.
func startCards(t *testing.T, with cardSettings) *process {
	t.Helper()
	logs := &bytes.Buffer{}
	var p *process
	t.Cleanup(func() { // after the process has ended
		if p != nil && t.Failed() {
			t.Logf("process %d said:\n%s", p.cmd.Process.Pid, logs)
		}
	})
	p = launch(t, cardVariable, with, logs)
	return p
}

// cardsHere runs one inside this process.
func cardsHere(t *testing.T, with cardSettings) *server {
	t.Helper()
	served, closePool, err := with.open(t.Output())
	require.NoError(t, err)
	listening := httptest.NewServer(served.Handler)
	t.Cleanup(func() {
		listening.Close()
		closed := make(chan struct{})
		go func() { closePool(); close(closed) }()
		await(t, "the server's connections come back", closed)
	})
	return &server{url: listening.URL, events: newEvents()}
}

// byCard is a card payment of alice's.
func byCard(key string, amount int64) request {
	return request{
		method: http.MethodPost, path: "/api/v1/card-payments", token: "demo_alice", key: key,
		body: fmt.Sprintf(`{"amount":%d,"currency":"USD","card":"tok_visa"}`, amount),
	}
}
