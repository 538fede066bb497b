package protocol

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/migrations/functions"
)

// docs/protocol.md is what a client is written from.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	return string(text)
}

func TestThePagesVectorsAreTheDatabases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	vectors := regexp.MustCompile("(?m)^\\| `(idempotency_\\w+\\(.*\\))` \\| `([^`]+)` \\|$").FindAllStringSubmatch(page(t), -1)
	require.Len(t, vectors, 11, "of all tables")
	for _, vector := range vectors {
		var value string
		require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT (`+vector[1]+`)::text`).Scan(&value), vector[1])
		assert.Equal(t, vector[2], value, vector[1])
	}
}

func TestThePagesSignaturesAreTheDatabases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows, err := w.pool.Query(t.Context(), `SELECT proname || '(' || pg_get_function_arguments(oid) || ') RETURNS ' || pg_get_function_result(oid)
		FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND proname NOT IN ('idempotency_claim', 'idempotency_namespace') ORDER BY proname`)
	require.NoError(t, err)
	var signatures []string
	for rows.Next() {
		var signature string
		require.NoError(t, rows.Scan(&signature))
		signatures = append(signatures, signature)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, signatures, regexp.MustCompile(`(?m)^idempotency_\w+\(.*\) RETURNS .*$`).FindAllString(page(t), -1))
}

func TestThePagesErrorsAreThoseThatAreRaised(t *testing.T) {
	t.Parallel()
	sql, err := functions.FS.ReadFile("00001_protocol.sql")
	require.NoError(t, err)
	codes := func(text string) []string {
		found := regexp.MustCompile(`OO\d{3}`).FindAllString(text, -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	require.Equal(t, codes(string(sql)), codes(page(t)))
}

// Each statement of the page names columns that there are, with values that fit.
func TestThePagesStatementsArePrepared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn, err := w.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	prepared := 0
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(page(t), -1) {
		if strings.HasPrefix(block[1], "BEGIN;") { // with names for parameters
			continue
		}
		for statement := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(block[1]), ";"), ";\n") {
			_, err := conn.Conn().Prepare(t.Context(), "", statement)
			require.NoError(t, err, statement)
			prepared++
		}
	}
	require.Equal(t, 9, prepared)
}

// The grants that the page shows are enough for a payment, and name functions that there are.
func TestThePagesGrantsAreEnough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	role := "worker_" + w.schema
	w.exec(`CREATE ROLE ` + role)
	t.Cleanup(func() {
		_, err := w.pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role)
		assert.NoError(t, err)
	})
	grants := regexp.MustCompile("(?s)```\n(GRANT .*?)```").FindStringSubmatch(page(t))
	require.NotNil(t, grants)
	text := strings.NewReplacer("payments.", w.schema+".", "SCHEMA payments", "SCHEMA "+w.schema, "TO worker", "TO "+role).Replace(grants[1])
	w.exec(text)
	w.exec(`GRANT INSERT ON effects TO ` + role)
	tx := w.tx()
	_, err := tx.Exec(t.Context(), `SET LOCAL ROLE `+role)
	require.NoError(t, err)
	w.wantBegun(tx)
	w.pay(tx)
	require.NoError(t, w.tryComplete(tx, everyByte()))
	w.commit(tx)
	w.wantReplayed(everyByte())
}
