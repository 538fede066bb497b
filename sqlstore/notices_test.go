package sqlstore_test

import (
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/onlyonce/onlyonce/internal/sqlsuite"
)

const noticesKey = "onlyonce"

// noticing has pgx pass on what the server remarks to whoever listens on the connection.
func noticing(config *pgx.ConnConfig) {
	config.OnNotice = func(conn *pgconn.PgConn, notice *pgconn.Notice) {
		if heard, ok := conn.CustomData()[noticesKey].(func(routine, message string)); ok {
			heard(notice.Routine, notice.Message)
		}
	}
}

// notices listens.
func notices(driverConn any, heard func(routine, message string)) (stop func()) {
	conn, ok := driverConn.(*stdlib.Conn)
	if !ok {
		return nil
	}
	data := conn.Conn().PgConn().CustomData()
	data[noticesKey] = heard
	return func() { delete(data, noticesKey) }
}

func TestPGXHearsOfACancelledWaitForTheStandby(t *testing.T) {
	t.Parallel()
	sqlsuite.Synchronous(t, sqlsuite.Driver{Notices: notices, Open: func(url, schema string) (*sql.DB, error) {
		config, err := pgx.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		config.RuntimeParams["search_path"] = schema
		noticing(config)
		return stdlib.OpenDB(*config), nil
	}})
}
