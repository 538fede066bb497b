// Package libpq holds sqlstore with github.com/lib/pq, which the root module does not require.
package libpq

import (
	"database/sql"
	"database/sql/driver"
	"net/url"
	"testing"

	"github.com/lib/pq"

	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/sqlsuite"
)

// open opens a URL of lib/pq's, with more parameters.
func open(more url.Values) func(at, schema string) (*sql.DB, error) {
	return func(at, schema string) (*sql.DB, error) {
		u, err := url.Parse(at)
		if err != nil {
			return nil, err
		}
		query := u.Query()
		if schema != "" {
			query.Set("search_path", schema)
		}
		query.Set("sslmode", "disable")
		for name := range more {
			query.Set(name, more.Get(name))
		}
		u.RawQuery = query.Encode()
		connector, err := pq.NewConnector(u.String())
		if err != nil {
			return nil, err
		}
		return sql.OpenDB(connector), nil
	}
}

func TestLibPQConforms(t *testing.T) {
	t.Parallel()
	for name, level := range map[string]sql.IsolationLevel{
		"read_committed": sql.LevelReadCommitted, "repeatable_read": sql.LevelRepeatableRead, "serializable": sql.LevelSerializable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				return sqlsuite.Subject(t, sqlsuite.Driver{Open: open(nil)}, pgtest.URL(t), pgtest.Schema(t), level)
			})
		})
	}
}

func TestLibPQHoldsTheSuite(t *testing.T) {
	t.Parallel()
	sqlsuite.Run(t, sqlsuite.Driver{Open: open(nil), ManyResults: true})
}

// notices hears what the server remarks on a connection.
func notices(driverConn any, heard func(routine, message string)) (stop func()) {
	conn, ok := driverConn.(driver.Conn)
	if !ok {
		return nil
	}
	pq.SetNoticeHandler(conn, func(notice *pq.Error) { heard(notice.Routine, notice.Message) })
	return func() { pq.SetNoticeHandler(conn, nil) }
}

func TestLibPQHearsOfACancelledWaitForTheStandby(t *testing.T) {
	t.Parallel()
	sqlsuite.Synchronous(t, sqlsuite.Driver{Open: open(nil), Notices: notices})
}

// Arguments in one round trip rather than two.
func TestLibPQWithBinaryParametersHoldsTheSuite(t *testing.T) {
	t.Parallel()
	sqlsuite.Run(t, sqlsuite.Driver{Open: open(url.Values{"binary_parameters": {"yes"}}), ManyResults: true})
}

func TestWhatLibPQCosts(t *testing.T) {
	t.Parallel()
	sqlsuite.Costs(t, sqlsuite.Driver{Open: open(nil)}, sqlsuite.Cost{Plain: 3, Fresh: 9, Refused: 13, Freed: 7, Replayed: 2, Elsewhere: 6, Keyless: 3, Step: 10})
}

func TestWhatLibPQWithBinaryParametersCosts(t *testing.T) {
	t.Parallel()
	sqlsuite.Costs(t, sqlsuite.Driver{Open: open(url.Values{"binary_parameters": {"yes"}})},
		sqlsuite.Cost{Plain: 3, Fresh: 6, Refused: 9, Freed: 5, Replayed: 1, Elsewhere: 4, Keyless: 3, Step: 6})
}
