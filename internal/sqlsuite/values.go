package sqlsuite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// cents is a value with a word of its own for the database.
type cents int64

func (c cents) Value() (driver.Value, error) { return int64(c), nil }

const everyKind = `SELECT $1::text AS text, $2::bytea AS bytes, $3::bigint AS number, $4::float8 AS float, $5::bool AS bool, $6::timestamptz AS time,
	$7::text AS nothing, $8::bigint AS cents, $9::numeric(10, 2) AS numeric, $10::uuid AS uuid, $11::jsonb AS json, $12::varchar(7) AS short`

var kinds = []any{
	"Zürich 💸", []byte{0, 1, 255}, int64(-1) << 62, 0.5, true, time.Date(2024, 2, 29, 12, 0, 0, 123456000, time.UTC),
	nil, cents(99), "12.50", "0b9aeb6b-5d9e-4d6f-8d3c-6a1f4f9f8a11", `{"a": 1}`, sql.NullString{String: "short", Valid: true},
}

// column is what database/sql says of one.
type column struct {
	name, database                     string
	scan                               string
	length, precision, scale           int64
	hasLength, hasScale, nullable, can bool
}

// read returns all that can be said of a result.
func (w *world) read(rows *sql.Rows, err error) (columns []column, values []any) {
	w.Helper()
	require.NoError(w, err)
	defer rows.Close()
	types, err := rows.ColumnTypes()
	require.NoError(w, err)
	for _, t := range types {
		c := column{name: t.Name(), database: t.DatabaseTypeName(), scan: t.ScanType().String()}
		c.length, c.hasLength = t.Length()
		c.precision, c.scale, c.hasScale = t.DecimalSize()
		c.nullable, c.can = t.Nullable()
		columns = append(columns, c)
	}
	for rows.Next() {
		found := make([]any, len(types))
		into := make([]any, len(types))
		for i := range found {
			into[i] = &found[i]
		}
		require.NoError(w, rows.Scan(into...))
		values = append(values, found...)
	}
	require.NoError(w, rows.Err())
	return columns, values
}

var valueScenarios = []scenario{
	{"arguments, values and types are those of the driver", func(w *world) {
		columns, values := w.read(w.db.QueryContext(w.Context(), everyKind, kinds...))
		require.Len(w, values, len(kinds))
		w.inHandler(func(ctx context.Context, tx *sql.Tx) {
			gotColumns, gotValues := w.read(tx.QueryContext(ctx, everyKind, kinds...))
			require.Equal(w, columns, gotColumns)
			require.Equal(w, values, gotValues)
			stmt, err := tx.PrepareContext(ctx, everyKind)
			require.NoError(w, err)
			for range 2 {
				gotColumns, gotValues = w.read(stmt.QueryContext(ctx, kinds...))
				require.Equal(w, columns, gotColumns)
				require.Equal(w, values, gotValues)
			}
			require.NoError(w, stmt.Close())
		})
	}},
	{"raw bytes are there until the next row", func(w *world) {
		w.inHandler(func(ctx context.Context, tx *sql.Tx) {
			rows, err := tx.QueryContext(ctx, `SELECT 'row ' || n FROM generate_series(1, 3) n`)
			require.NoError(w, err)
			defer rows.Close()
			for _, want := range []string{"row 1", "row 2", "row 3"} {
				require.True(w, rows.Next())
				var raw sql.RawBytes
				require.NoError(w, rows.Scan(&raw))
				require.Equal(w, want, string(raw))
			}
			require.False(w, rows.Next())
		})
	}},
	{"a prepared statement writes, and reports the rows that it has changed", func(w *world) {
		w.inHandler(func(ctx context.Context, tx *sql.Tx) {
			stmt, err := tx.PrepareContext(ctx, `INSERT INTO effects SELECT $1::text FROM generate_series(1, 3)`)
			require.NoError(w, err)
			defer stmt.Close()
			for range 2 {
				result, err := stmt.ExecContext(ctx, "paid")
				require.NoError(w, err)
				n, err := result.RowsAffected()
				require.NoError(w, err)
				require.EqualValues(w, 3, n)
			}
		})
		w.stored(6, 1)
	}},
	{"errors are the driver's", func(w *world) {
		_, want := w.db.ExecContext(w.Context(), `INSERT INTO effects VALUES (NULL)`)
		require.Error(w, want)
		w.inHandler(func(ctx context.Context, tx *sql.Tx) {
			w.exec(ctx, tx, `SAVEPOINT a`)
			_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES (NULL)`)
			require.IsType(w, want, err)
			require.Equal(w, want.Error(), err.Error())
			w.exec(ctx, tx, `ROLLBACK TO a`)
		})
	}},
	{"one query may have many results", func(w *world) {
		if !w.driver.ManyResults {
			w.Skip("not with this driver")
		}
		w.inHandler(func(ctx context.Context, tx *sql.Tx) {
			rows, err := tx.QueryContext(ctx, `SELECT 1; SELECT 2 UNION ALL SELECT 3`)
			require.NoError(w, err)
			defer rows.Close()
			var got []int
			for more := true; more; more = rows.NextResultSet() {
				for rows.Next() {
					var n int
					require.NoError(w, rows.Scan(&n))
					got = append(got, n)
				}
			}
			require.NoError(w, rows.Err())
			require.Equal(w, []int{1, 2, 3}, got)
		})
	}},
	{"a statement ends with its context", func(w *world) {
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.exec(ctx, tx, insert)
			var backend int
			require.NoError(w, tx.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&backend))
			brief, cancel := context.WithCancel(ctx)
			over := make(chan struct{})
			go func() { // lib/pq asks for the end once, and the server hears it only where the statement has begun
				defer close(over)
				defer cancel()
				until := time.Now().Add(patience)
				for begun := false; !begun && time.Now().Before(until); {
					_ = w.outside.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')`, backend).Scan(&begun)
				}
			}()
			_, err := tx.ExecContext(brief, `SELECT pg_sleep(600)`)
			require.Error(w, err)
			<-over
			return idempotency.Response{}, err
		})
		require.Error(w, err)
		w.afterwards()
	}},
}

// inHandler runs f in a handler that succeeds.
func (w *world) inHandler(f func(ctx context.Context, tx *sql.Tx)) {
	w.Helper()
	_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
		f(ctx, tx)
		return idempotency.Response{Status: 201}, nil
	})
	require.NoError(w, err)
}
