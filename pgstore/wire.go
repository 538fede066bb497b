package pgstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

// wire sends statements of the store's own by PostgreSQL's extended protocol: prepared once a connection, bound and executed together,
// answered in one round trip. It does what a pgx.Batch does, on pgx's own connection, for claims, commits and replays: what a batch costs the
// client, in allocations and in a Describe for each statement without columns, was two thirds of what the client paid
// for a protected payment (docs/performance-notes.md). All else goes by pgx.
type wire struct {
	conn     *pgconn.PgConn
	prepared map[string]string   // names of prepared statements by their SQL
	outdated map[string]struct{} // names that the server shall forget

	// Room for the statements that are sent next, and for their arguments.
	batch     []statement
	arguments [][]byte
	values    []byte
}

// wireKey is where a connection keeps its wire.
const wireKey = "onlyonce: wire"

// wireOf returns the connection's wire, or nil where its configuration says that nothing may be prepared, or that batches are traced.
func wireOf(conn *pgxpool.Conn) *wire {
	pg := conn.Conn().PgConn()
	kept, known := pg.CustomData()[wireKey]
	if !known {
		var w *wire
		config := conn.Conn().Config()
		_, traced := config.Tracer.(pgx.BatchTracer)
		if _, ours := config.Tracer.(*OutsideTracer); ours { // it does not look at the store's own statements
			traced = false
		}
		if config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement && config.StatementCacheCapacity > 0 && !traced {
			w = &wire{
				conn: pg, prepared: map[string]string{}, outdated: map[string]struct{}{},
				batch: make([]statement, 0, 4), values: make([]byte, 0, 256), // not nil, which is NULL
			}
		}
		kept = w
		pg.CustomData()[wireKey] = w
	}
	return kept.(*wire)
}

// statement is one of a round trip's, with its arguments in PostgreSQL's binary format.
type statement struct {
	sql  string
	args [][]byte
}

// answers takes what the server says to a round trip. at is the index of the statement. Neither may keep what it is given.
type answers interface {
	row(at int, values [][]byte) error
	done(at int, tag []byte)
}

// roundTrip sends the statements together, within the bound of ctx. They are executed in order, and what follows one that fails is skipped
// by the server: at is that one's index then, and err the server's own word. After any other error the connection is closed, and
// the statements from at on may have been executed, or may be yet.
func (w *wire) roundTrip(ctx context.Context, statements []statement, to answers) (at int, err error) {
	if w.conn.IsClosed() {
		return 0, errors.New("pgstore: the connection is closed")
	}
	socket := w.conn.Conn()
	deadline, _ := ctx.Deadline()
	_ = socket.SetDeadline(deadline)
	var stop func() bool
	if outer := beyond(ctx); outer.Done() != nil {
		stop = context.AfterFunc(outer, func() { _ = socket.SetDeadline(past) })
	}
	if err = w.prepare(ctx, statements); err == nil {
		at, err = w.exchange(statements, to)
	}
	late := stop != nil && !stop()
	clear(w.arguments) // a body is not to be kept by a connection that rests
	w.arguments, w.values = w.arguments[:0], w.values[:0]
	var server *pgconn.PgError
	switch {
	case late: // what it does to the socket may come yet
		w.close()
		return at, errors.Join(context.Cause(ctx), err)
	case err != nil && !errors.As(err, &server):
		w.close()
		return at, err
	}
	if !w.conn.IsClosed() { // otherwise pgconn is about to close the socket, by a deadline of its own
		_ = socket.SetDeadline(time.Time{})
	}
	return at, err
}

var past = time.Unix(1, 0)

// exchange sends and receives.
func (w *wire) exchange(statements []statement, to answers) (at int, err error) {
	frontend := w.conn.Frontend()
	for _, s := range statements {
		frontend.SendBind(&pgproto3.Bind{
			PreparedStatement: w.prepared[s.sql], ParameterFormatCodes: binaryFormat, Parameters: s.args, ResultFormatCodes: binaryFormat,
		})
		frontend.SendExecute(&pgproto3.Execute{})
	}
	frontend.SendSync(&pgproto3.Sync{})
	if err := frontend.Flush(); err != nil {
		return 0, err
	}
	var refused, unread error
	for {
		message, err := w.conn.ReceiveMessage(context.Background())
		if err != nil {
			return at, err
		}
		switch m := message.(type) {
		case *pgproto3.DataRow:
			if unread == nil {
				unread = to.row(at, m.Values)
			}
		case *pgproto3.CommandComplete:
			to.done(at, m.CommandTag)
			at++
		case *pgproto3.ErrorResponse:
			server := pgconn.ErrorResponseToPgError(m)
			if outdates(server.Code) {
				w.forget()
			}
			refused = server
		case *pgproto3.ReadyForQuery:
			if refused == nil {
				refused = unread
			}
			return at, refused
		}
	}
}

// binaryFormat says of all arguments, or all columns, that they are in binary format.
var binaryFormat = []int16{1}

// prepare has the server parse what it does not know yet, in a round trip of its own.
func (w *wire) prepare(ctx context.Context, statements []statement) error {
	known := true
	for _, s := range statements {
		_, prepared := w.prepared[s.sql]
		known = known && prepared
	}
	if known {
		return nil
	}
	pipeline := w.conn.StartPipeline(context.Background()) // the socket's deadline bounds it
	for name := range w.outdated {
		pipeline.SendDeallocate(name)
	}
	names := map[string]string{}
	for _, s := range statements {
		if w.prepared[s.sql] == "" && names[s.sql] == "" {
			names[s.sql] = nameOf(s.sql)
			pipeline.SendPrepare(names[s.sql], s.sql, nil)
		}
	}
	err := pipeline.Sync()
	for err == nil {
		var result any
		if result, err = pipeline.GetResults(); result == nil {
			break
		}
		if _, synced := result.(*pgconn.PipelineSync); synced {
			break
		}
	}
	if closeErr := pipeline.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		for _, name := range names {
			w.outdated[name] = struct{}{}
		}
		return err
	}
	clear(w.outdated)
	for sql, name := range names {
		w.prepared[sql] = name
	}
	return nil
}

// nameOf returns the name of a prepared statement. It is the same on every connection: behind a pooler that does not keep track of
// what is prepared where, a name stands for this statement or for none, never for another one.
func nameOf(sql string) string {
	sum := sha256.Sum256([]byte(sql))
	return "onlyonce_" + hex.EncodeToString(sum[:16])
}

// forget has everything prepared anew.
func (w *wire) forget() {
	for sql, name := range w.prepared {
		w.outdated[name] = struct{}{}
		delete(w.prepared, sql)
	}
}

// outdates reports whether an error may mean that what was prepared is outdated, or gone: a migration has changed the table, or
// somebody has sent DISCARD ALL.
func outdates(sqlstate string) bool {
	return sqlstate == "0A000" || sqlstate == "26000" || strings.HasPrefix(sqlstate, "42")
}

// close closes the connection, whose state nobody knows, and has the server give up what it still does on it, as pgx does.
func (w *wire) close() {
	conn := w.conn
	if encrypted, ok := conn.Conn().(interface{ NetConn() net.Conn }); ok {
		_ = encrypted.NetConn().Close() // TLS would wait up to 5 seconds to say goodbye
	}
	_ = conn.Close(canceled)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		_ = conn.CancelRequest(ctx)
	}()
}
