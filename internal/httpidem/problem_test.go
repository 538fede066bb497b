package httpidem_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestEveryProblemIsExplainedWhereItsTypeLeads(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/problems.md")
	require.NoError(t, err)
	for _, code := range idempotency.Codes() {
		require.Contains(t, string(page), "\n## "+string(code)+"\n\n", "docs/problems.md does not explain %s", code)
	}
}
