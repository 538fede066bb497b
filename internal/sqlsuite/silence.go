package sqlsuite

import (
	"context"
	"database/sql"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/sqlstore"
)

var silenceScenarios = []scenario{
	{"a server that accepts and says nothing is waited for no longer than the bound", func(w *world) {
		network := w.overANetwork()
		network.Lock()
		err := w.returns(pays(201))
		network.Unlock()
		require.ErrorIs(w, err, idempotency.ErrStoreUnavailable)
		// The only connection that the pool may have is free again, whether it has come late or never.
		w.recovers()
	}},
	{"statements that are left to a server that falls silent are waited for no longer than the bound", func(w *world) {
		network := w.overANetwork()
		err := w.returns(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.exec(ctx, tx, insert)
			for range 50 { // with a bound each, no patience would do
				_, err := tx.PrepareContext(ctx, insert)
				require.NoError(w, err)
			}
			network.Lock()
			return idempotency.Response{Status: 201}, nil
		})
		network.Unlock()
		require.ErrorIs(w, err, idempotency.ErrStoreUnavailable)
		w.recovers()
	}},
	{"rows that close while the handler returns leave nothing on the connection", func(w *world) {
		for range 100 {
			before := w.effects()
			_, err := w.keyless(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
				w.exec(ctx, tx, insert)
				ctx, cancel := context.WithCancel(ctx)
				defer cancel() // then database/sql closes the rows, in a goroutine of its own
				rows, err := tx.QueryContext(ctx, `SELECT generate_series(1, 3)`)
				require.NoError(w, err)
				require.True(w, rows.Next())
				return idempotency.Response{Status: 201}, nil
			})
			if err == nil {
				require.Equal(w, before+1, w.effects())
			}
			var n int
			if err := w.db.QueryRow(`SELECT 42`).Scan(&n); err == nil || !strings.Contains(err.Error(), "canceling statement") { // else lib/pq's cancel request was late
				require.NoError(w, err)
				require.Equal(w, 42, n)
			}
		}
	}},
}

// overANetwork gives the world a store whose way to the server is silent for as long as the lock is held.
func (w *world) overANetwork() *sync.Mutex {
	at, err := url.Parse(pgtest.URL(w))
	require.NoError(w, err)
	server := at.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w, err)
	w.Cleanup(func() { _ = listener.Close() })
	at.Host = listener.Addr().String()
	var silent sync.Mutex
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			go carry(backend, client, &silent)
			go carry(client, backend, &silent)
		}
	}()
	w.on(at.String(), sqlstore.Config{Timeout: 300 * time.Millisecond, ReadBackTimeout: 300 * time.Millisecond})
	return &silent
}

func carry(to, from net.Conn, silent *sync.Mutex) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	data := make([]byte, 1<<16)
	for {
		n, err := from.Read(data)
		silent.Lock()
		//lint:ignore SA2001 it waits, and has nothing to do under the lock
		silent.Unlock()
		if err != nil {
			return
		}
		if _, err := to.Write(data[:n]); err != nil {
			return
		}
	}
}

// returns runs h, and fails if that takes longer than a bound or two of the store's.
func (w *world) returns(h handler) error {
	w.Helper()
	done := make(chan error, 1)
	go func() { _, err := w.run(h); done <- err }()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		require.Fail(w, "the store waits on")
		return nil
	}
}

// recovers checks that a payment goes through, once, as soon as the network carries again.
func (w *world) recovers() {
	w.Helper()
	until := time.Now().Add(patience)
	_, err := w.run(pays(201))
	for ; err != nil && time.Now().Before(until); _, err = w.run(pays(201)) {
	}
	require.NoError(w, err)
	w.stored(1, 1)
}
