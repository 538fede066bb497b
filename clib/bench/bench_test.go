package main

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
)

func TestTheBenchmarkRunsAndPrintsEachComparison(t *testing.T) {
	for _, tool := range []string{"gcc", "make", "pkg-config"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not here", tool)
		}
	}
	if exec.CommandContext(t.Context(), "pkg-config", "--exists", "libpq").Run() != nil {
		t.Skip("libpq's headers are not here (Debian: libpq-dev)")
	}
	t.Setenv("DATABASE_URL", pgtest.URL(t))
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, "..", 1, 2))
	require.Regexp(t, `(?s)BEGIN, begin, complete, COMMIT \| .*BEGIN, begin, ROLLBACK \| .*as a lease \| [\d.]+ µs \| [\d.]+ µs \| [\d.]+ \(.*oo_tx_begin alone.*into Go and back`, out.String())
}
