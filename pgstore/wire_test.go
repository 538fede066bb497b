package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// cutter cuts the next connection that sends, or receives, after so many bytes.
type cutter struct {
	mu      sync.Mutex
	armed   bool
	sending bool
	left    int
}

func (c *cutter) arm(sending bool, after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.sending, c.left = true, sending, after
}

// disarm reports whether it has cut.
func (c *cutter) disarm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	cut := !c.armed
	c.armed = false
	return cut
}

// allowed is how many of n bytes may pass; cut says that this is the end.
func (c *cutter) allowed(sending bool, n int) (most int, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.armed || c.sending != sending {
		return n, false
	}
	if n = min(n, c.left); n == 0 {
		c.armed = false
		return 0, true
	}
	return n, false
}

func (c *cutter) passed(sending bool, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed && c.sending == sending {
		c.left -= n
	}
}

func (c *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &cutConn{conn, c}, nil
}

type cutConn struct {
	net.Conn
	cutter *cutter
}

func (c *cutConn) Read(p []byte) (int, error) {
	most, cut := c.cutter.allowed(false, len(p))
	if cut {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:most])
	c.cutter.passed(false, n)
	return n, err
}

func (c *cutConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		most, cut := c.cutter.allowed(true, len(p))
		if cut {
			_ = c.Close()
			return n, io.ErrClosedPipe
		}
		var wrote int
		wrote, err = c.Conn.Write(p[:most])
		c.cutter.passed(true, wrote)
		n, p = n+wrote, p[wrote:]
	}
	return n, err
}

// Whatever part of a round trip gets through, the engine says what is true, and a retry makes it once.
func TestALineThatIsCutAtAnyByteDoublesAndLosesNothing(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]struct{ commit, sending bool }{
		"claim, sent": {false, true}, "claim, received": {false, false}, "commit, sent": {true, true}, "commit, received": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cut := &cutter{}
			w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
				c.MaxConns, c.ConnConfig.DialFunc = 2, cut.dial
			})
			claimed := false // before the cut
			pay := func(key string, after int) error {
				_, err := w.engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: w.schema + key}}, func(ctx context.Context) (idempotency.Response, error) {
					claimed = claimed || !cut.disarm()
					_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ($1)`, key)
					if after >= 0 && at.commit {
						cut.arm(at.sending, after)
					}
					return idempotency.Response{Status: 201, Body: []byte("answer")}, err
				})
				return err
			}
			require.NoError(t, pay("prepares", -1))
			cuts := 0
			step := 1
			if at.sending {
				step = 7 // of what is sent a message in part is as good as none
			}
			for after := 0; ; after += step {
				key := fmt.Sprint("cut after ", after)
				if !at.commit {
					cut.arm(at.sending, after)
				}
				err := pay(key, after)
				reached := cut.disarm() && !claimed
				settled := w.count(`SELECT count(*) FROM effects WHERE name = $1`, key)
				if err == nil {
					require.Equal(t, 1, settled, key)
				} else {
					require.Equal(t, 0, settled, "%s: %v", key, err)
				}
				for errors.Is(err, idempotency.ErrInProgress) || errors.Is(err, idempotency.ErrStoreUnavailable) {
					err = pay(key, -1)
				}
				require.NoError(t, err, key)
				require.Equal(t, 1, w.count(`SELECT count(*) FROM effects WHERE name = $1`, key), key)
				require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE key = $1`, w.schema+key), key)
				if !reached {
					break
				}
				cuts++
			}
			t.Logf("cut at %d places", cuts)
			require.Greater(t, cuts, 20)
		})
	}
}

// A context that ends at any time leaves no deadline behind on a connection that goes on.
func TestContextsThatEndAtAnyTimeSpoilNoConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.run(pays(201))
	require.NoError(t, err)
	var all sync.WaitGroup
	for worker := range 3 {
		all.Go(func() {
			for i := range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				timer := time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
				if i%2 == 0 {
					_, _ = w.store.Lookup(ctx, w.key)
				} else if attempt, _, err := w.store.Claim(ctx, idempotency.Key{Scope: w.schema, Value: fmt.Sprint(worker, " ", i)}); err == nil {
					_ = attempt.Release(t.Context())
				}
				timer.Stop()
				cancel()
				var one int
				if err := w.pool.QueryRow(t.Context(), `SELECT 1`).Scan(&one); err != nil {
					t.Errorf("a connection was spoiled: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestTheBoundOfAClaimIsNotThatOfTheHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, c *pgxpool.Config) {
		s.Timeout, c.MaxConns = time.Second, 1
	})
	for range 2 { // the second of which prepares nothing
		w.key.Value += "+"
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			_, err := tx.Exec(ctx, `SELECT pg_sleep(1.2)`)
			return idempotency.Response{Status: 201}, err
		})
		require.NoError(t, err)
		_, err = w.pool.Exec(t.Context(), `SELECT pg_sleep(1.2)`)
		require.NoError(t, err)
	}
}

// What the store has prepared may be gone, as what pgx has prepared may.
func TestStatementsThatSomebodyDeallocatesArePreparedAnew(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]func(ctx context.Context, c *pgx.Conn) error{
		"pgx": func(ctx context.Context, c *pgx.Conn) error { return c.DeallocateAll(ctx) },
		"SQL": func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.PgConn().Exec(ctx, `DISCARD ALL`).ReadAll()
			return err
		},
		"both": func(ctx context.Context, c *pgx.Conn) error {
			_, _ = c.PgConn().Exec(ctx, `DISCARD ALL`).ReadAll()
			return c.DeallocateAll(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
				c.MaxConns = 1
				c.AfterRelease = func(conn *pgx.Conn) bool { return hook(context.Background(), conn) == nil }
			})
			for i := range 5 {
				w.key.Value = fmt.Sprint(w.schema, i)
				for _, replayed := range []bool{false, true} {
					result, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
						return idempotency.Response{Status: 201}, nil
					})
					require.NoError(t, err)
					require.Equal(t, replayed, result.Replayed)
					record, err := w.store.Lookup(t.Context(), w.key)
					require.NoError(t, err)
					require.NotNil(t, record)
				}
			}
		})
	}
}

func TestAHandlerMayDeallocateWhatIsPrepared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 1 })
	for i := range 4 {
		w.key.Value = fmt.Sprint(w.schema, i)
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			if i > 0 { // the first has the store prepare its own
				require.NoError(t, tx.Conn().DeallocateAll(ctx))
			}
			return pays(201)(ctx, tx)
		})
		require.NoError(t, err)
	}
	require.Equal(t, 4, w.effects())
}

// Behind a pooler that does not keep track of what is prepared, a name that is one statement here and another one there would
// execute the wrong one.
func TestANameOfAPreparedStatementIsOneStatement(t *testing.T) {
	t.Parallel()
	w := newWorld(t, locally)
	other := newWorld(t, locally)
	_, err := other.store.Lookup(t.Context(), other.key)
	require.NoError(t, err)
	statements := map[string]string{}
	for _, w := range []*world{w, other} {
		_, err := w.run(pays(201))
		require.NoError(t, err)
		rows, err := w.pool.Query(t.Context(), `SELECT name, statement FROM pg_prepared_statements WHERE name LIKE 'onlyonce%'`)
		require.NoError(t, err)
		var name, statement string
		_, err = pgx.ForEachRow(rows, []any{&name, &statement}, func() error {
			if known := statements[name]; known != "" {
				require.Equal(t, known, statement, name)
			}
			statements[name] = statement
			return nil
		})
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, len(statements), 5)
}

func TestATableThatIsAlteredInFlightCostsNoClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 1 })
	_, err := w.run(pays(201))
	require.NoError(t, err)
	for i, alter := range []string{
		`ADD COLUMN note text`, `ALTER COLUMN state TYPE varchar(20)`, `ALTER COLUMN state TYPE text`, `DROP COLUMN note`,
	} {
		_, err := w.pool.Exec(t.Context(), `ALTER TABLE idempotency_keys `+alter)
		require.NoError(t, err, alter)
		result, err := w.run(pays(201))
		require.NoError(t, err, alter)
		require.True(t, result.Replayed, alter)
		request := idempotency.Request{Key: idempotency.Key{Scope: w.schema, Value: fmt.Sprint(i)}}
		_, err = w.engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) { return idempotency.Response{Status: 201}, nil })
		require.NoError(t, err, alter)
	}
}

// An argument that is empty is not NULL, not even the first of all.
func TestAnEmptyArgumentIsNotNull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.pool.Exec(t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
		VALUES ('', '', 'completed', $1, 200, '', '', now(), now(), now() + interval '1 hour')`, make([]byte, 33))
	require.NoError(t, err)
	w.pool.Reset()
	record, err := w.store.Lookup(t.Context(), idempotency.Key{})
	if err == nil {
		require.NotNil(t, record)
	} else {
		require.ErrorIs(t, err, idempotency.ErrRecordUnreadable) // the fingerprint: the row was found
	}
}

func TestAConnectionThatRestsKeepsNoBody(t *testing.T) {
	w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 1 })
	kept := func() weak.Pointer[[1 << 20]byte] {
		body := new([1 << 20]byte)
		attempt, _, err := w.store.Claim(t.Context(), w.key)
		require.NoError(t, err)
		_, err = attempt.Complete(t.Context(), &idempotency.Record{Response: idempotency.Response{Status: 200, Body: body[:]}}, time.Hour)
		require.NoError(t, err)
		return weak.Make(body)
	}()
	runtime.GC()
	require.True(t, kept.Value() == nil)
	require.EqualValues(t, 1, w.pool.Stat().IdleConns())
}

// polite is a connection that takes its time to close, as TLS does whose line is full, unless what is beneath it is closed.
type polite struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	waited *atomic.Bool
}

func (p *polite) NetConn() net.Conn { return beneath{p.Conn, p} }

func (p *polite) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.waited.Store(true)
	}
	return p.Conn.Close()
}

type beneath struct {
	net.Conn
	above *polite
}

func (b beneath) Close() error {
	b.above.mu.Lock()
	defer b.above.mu.Unlock()
	b.above.closed = true
	return b.Conn.Close()
}

func TestAnEncryptedConnectionIsNotWaitedForWhenItIsGivenUp(t *testing.T) {
	t.Parallel()
	var waited atomic.Bool
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, c *pgxpool.Config) {
		c.MaxConns, s.Timeout = 1, 2*time.Second
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &polite{Conn: conn, waited: &waited}, err
		}
	})
	outside, err := pgx.Connect(t.Context(), w.pool.Config().ConnString())
	require.NoError(t, err)
	defer outside.Close(t.Context())
	_, err = w.run(pays(201))
	require.NoError(t, err)
	tx, err := outside.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE `+w.schema+`.idempotency_keys`)
	require.NoError(t, err)
	_, err = w.store.Lookup(t.Context(), w.key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.False(t, waited.Load())
	require.NoError(t, tx.Rollback(t.Context()))
}
