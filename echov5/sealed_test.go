package idempotencyecho_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/seal"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
)

// A client cannot tell whether what it is answered with was sealed in between.
func TestTheContractWithSealedRecords(t *testing.T) {
	t.Parallel()
	box, err := seal.New(seal.Config{Current: "test", Keys: map[string][]byte{"test": bytes.Repeat([]byte("k"), seal.KeySize)}})
	require.NoError(t, err)
	sealed := adapter
	sealed.Engine = func(config *idempotency.Config) { config.Sealer = box }
	httpcontract.Run(t, sealed)
}
