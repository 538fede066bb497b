package sqlstore_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/internal/sqlsuite"
)

func TestWhatPGXCosts(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			sqlsuite.Costs(t, by(mode), sqlsuite.Cost{Plain: 3, Fresh: 6, Refused: 9, Freed: 5, Replayed: 1, Elsewhere: 4, Keyless: 3, Step: 6})
		})
	}
}
