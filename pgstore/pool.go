package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// PoolConfig says how soon the server gives up on an owner that is gone. The zero value works.
type PoolConfig struct {
	// IdleInTransaction is how long a handler may leave its transaction alone before the server ends it. It frees the lock of
	// a process that is stopped, not dead: its connection is intact, and nothing else would ever end it. Longer than
	// the slowest thing that a handler does between two statements; Default: 10 seconds.
	IdleInTransaction time.Duration
	// Transaction bounds a whole transaction, by the server's transaction_timeout. PostgreSQL 17 and later; with earlier ones
	// it is ignored. Default: 0, no bound.
	Transaction time.Duration
	// Keepalive is how long a silent connection is left alone before the server asks whether its peer lives, and, a third of it at
	// a time, asks twice more. It frees the lock of a host that vanished. Default: 10 seconds.
	Keepalive time.Duration
	// BehindPooler leaves all of that out of the connection's start-up message, since PgBouncer refuses start-up
	// parameters that it does not know, and has pgx prepare nothing. Set idle_in_transaction_session_timeout for the role then:
	// ALTER ROLE payments SET idle_in_transaction_session_timeout = '10s'.
	BehindPooler bool
}

// NewPool opens a pool on url with [Configure] applied to it. Like pgxpool.New it connects lazily.
func NewPool(ctx context.Context, url string, config PoolConfig) (*pgxpool.Pool, error) {
	pool, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("pgstore: the database URL cannot be read: use postgres://user@host:5432/database: %w", err)
	}
	if err := Configure(pool, config); err != nil {
		return nil, err
	}
	return pgxpool.NewWithConfig(ctx, pool)
}

// Configure sets on pool what makes the lock of a dead owner vanish soon, and what lets the store notice a commit that no
// standby confirmed. It keeps parameters and hooks that are set already. Call it once, before pgxpool.NewWithConfig.
//
// Where the URL has no connect_timeout, each of its hosts is given 3 seconds. Without a bound, a host that vanished
// without a word keeps the pool for minutes from the next one, to which the database has failed over.
//
// A pool that was not configured is as safe, but a key whose owner was stopped stays in progress until the owner goes on, and
// a cancelled wait for a synchronous standby is taken for success.
func Configure(pool *pgxpool.Config, config PoolConfig) error {
	if config.IdleInTransaction < 0 || config.Transaction < 0 || config.Keepalive < 0 {
		return errors.New("pgstore: the durations in PoolConfig must be positive, or 0 for the default")
	}
	if config.IdleInTransaction == 0 {
		config.IdleInTransaction = 10 * time.Second
	}
	if config.Keepalive == 0 {
		config.Keepalive = 10 * time.Second
	}
	conn := pool.ConnConfig
	conn.OnNotice = noticeCommit(conn.OnNotice)
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = 3 * time.Second
	}
	if config.BehindPooler {
		conn.DefaultQueryExecMode = pgx.QueryExecModeExec
		return nil
	}
	seconds := func(d time.Duration) string { return strconv.Itoa(max(1, int(d/time.Second))) }
	for name, value := range map[string]string{
		"idle_in_transaction_session_timeout": strconv.FormatInt(max(1, config.IdleInTransaction.Milliseconds()), 10),
		"tcp_keepalives_idle":                 seconds(config.Keepalive),
		"tcp_keepalives_interval":             seconds(config.Keepalive / 3),
		"tcp_keepalives_count":                "2",
	} {
		if _, set := conn.RuntimeParams[name]; !set {
			conn.RuntimeParams[name] = value
		}
	}
	if config.Transaction > 0 {
		pool.AfterConnect = boundTransactions(config.Transaction, pool.AfterConnect)
	}
	return nil
}

// boundTransactions sets transaction_timeout where the server knows it: as a start-up parameter it would shut an older
// server's door.
func boundTransactions(bound time.Duration, next func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("SELECT set_config('transaction_timeout', '%d', false) WHERE current_setting('server_version_num')::int >= 170000", bound.Milliseconds()))
		if err == nil && next != nil {
			err = next(ctx, conn)
		}
		return err
	}
}

// The server reports a cancelled wait for a synchronous standby by a warning beside a successful COMMIT. It is known by the
// routine that gives it; its SQLSTATE, 01000, is that of any warning.
const syncWaitRoutine = "SyncRepWaitForLSN"

const (
	noticedKey      = "onlyonce: notices are seen"
	unreplicatedKey = "onlyonce: unreplicated"
)

func noticeCommit(next pgconn.NoticeHandler) pgconn.NoticeHandler {
	return func(conn *pgconn.PgConn, notice *pgconn.Notice) {
		if notice.Routine == syncWaitRoutine {
			conn.CustomData()[unreplicatedKey] = true
		}
		if notice.Message == noticedKey {
			conn.CustomData()[noticedKey] = true
		}
		if next != nil {
			next(conn, notice)
		}
	}
}

// watchCommit forgets what was noticed before.
func watchCommit(conn *pgxpool.Conn) {
	delete(conn.Conn().PgConn().CustomData(), unreplicatedKey)
}

// commitUnreplicated reports whether the commit since watchCommit was not confirmed by the standby that it had to wait for.
func commitUnreplicated(conn *pgxpool.Conn) bool {
	_, warned := conn.Conn().PgConn().CustomData()[unreplicatedKey]
	return warned
}
