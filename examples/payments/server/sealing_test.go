package server_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestKeysThatSealComeFromTheEnvironmentAloneAndAreNotShown(t *testing.T) {
	t.Parallel()
	secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	environment := map[string]string{"DATABASE_URL": "postgres://a/b", "SEAL_KEYS": "2026-11:" + secret}
	config, help, err := parse(environment, "-sealing", "seal")
	require.NoError(t, err)
	require.Empty(t, help)
	require.Equal(t, idempotency.SealedAndPlain, config.Sealing)
	text, err := config.Sealer.Seal([]byte("card"), []byte("bound"))
	require.NoError(t, err)
	require.Contains(t, string(text), "2026-11")

	config, _, err = parse(environment)
	require.NoError(t, err)
	require.Equal(t, idempotency.SealedOnly, config.Sealing)

	for keys, says := range map[string]string{secret: "SEAL_KEYS: seal: entry 1", "a:" + secret[4:]: "SEAL_KEYS: seal: the key of entry 1 has 29 bytes",
		secret + ":2026-11": "SEAL_KEYS: seal: entry 1 of the keys has what looks like a key", "": "set SEAL_KEYS"} {
		_, _, err = parse(map[string]string{"DATABASE_URL": "postgres://a/b", "SEAL_KEYS": keys, "SEALING": "read"})
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), secret[4:20])
	}
	_, _, err = parse(environment, "-sealing", "all")
	require.ErrorContains(t, err, "give read, seal or only")
	_, _, err = parse(environment, "-seal-keys", secret)
	require.ErrorContains(t, err, "not defined")
}
