package suite

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// world is a schema with the keys and the functions, and what programs need to find it.
func world(t testing.TB) (schema string, env []string) {
	t.Helper()
	schema = pgtest.Schema(t)
	pgtest.Functions(t, schema, schema)
	return schema, []string{"SUITE_URL=" + pgtest.URL(t), "SUITE_SCHEMA=" + schema}
}

func source(name string) string { return filepath.Join("testdata", name+".c") }

func TestProgramsHoldTheHeadersWord(t *testing.T) {
	t.Parallel()
	programs := []string{"lease", "errors", "transaction", "compat", "threads", "fork", "signals"}
	for _, v := range []variant{plainC, plainCXX, archive, sanitized} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range programs {
				if v.name == plainCXX.name && (name == "threads" || name == "fork" || name == "signals") {
					continue // whose headers are C's
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					if v.name == sanitized.name {
						needsSanitizer(t)
					}
					program := compile(t, v, source(name))
					_, env := world(t)
					_, err := run(t.Context(), runPatience, append(env, v.env...), program)
					require.NoError(t, err)
				})
			}
		})
	}
}

func needsSanitizer(t *testing.T) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(program+".c", []byte("int main(void) { return 0; }"), 0o600))
	if _, err := run(t.Context(), buildPatience, nil, "gcc", "-fsanitize=address,undefined", "-o", program, program+".c"); err != nil {
		t.Skip("gcc cannot link with AddressSanitizer here (Debian: libasan8, libubsan1): ", err)
	}
}

// The sanitizer has to be at work in what it finds nothing in.
func TestTheSanitizerSeesAResultThatIsUsedAfterItWasFreedAndOneThatIsNot(t *testing.T) {
	t.Parallel()
	needsSanitizer(t)
	program := compile(t, sanitized, source("sanitized"))
	_, env := world(t)
	for fault, says := range map[string]string{"use after free": "heap-use-after-free", "leak": "LeakSanitizer"} {
		_, err := run(t.Context(), runPatience, append(env, sanitized.env...), program, fault)
		require.ErrorContains(t, err, says)
	}
	_, err := run(t.Context(), runPatience, append(env, sanitized.env...), program, "none")
	require.NoError(t, err)
}

func TestAPanicBecomesAnErrorAndTheStoreWorksOn(t *testing.T) {
	t.Parallel()
	library(t)
	folder, err := probed()
	require.NoError(t, err)
	program := compile(t, archive, source("panic"), folder)
	_, env := world(t)
	_, err = run(t.Context(), runPatience, append(env, "ONLYONCE_PROBE=begin"), program)
	require.NoError(t, err)
}

func TestABrokenPipeEndsTheProgramOrNotAsItWouldWithoutTheLibrary(t *testing.T) {
	t.Parallel()
	program := compile(t, plainC, source("signals"))
	_, env := world(t)
	_, err := run(t.Context(), runPatience, env, program, "ignored pipe")
	require.NoError(t, err)
	_, err = run(t.Context(), runPatience, env, program, "pipe")
	require.ErrorContains(t, err, syscall.SIGPIPE.String())
}

// Go writes, C reads, and the other way round, byte for byte.
func TestGoAndCReadEachOthersRecords(t *testing.T) {
	t.Parallel()
	schema, env := world(t)
	store, err := pgstore.NewWithConfig(pgtest.Pool(t, schema), pgstore.Config{Schema: schema})
	require.NoError(t, err)
	record := &idempotency.Record{Fingerprint: (*idempotency.Fingerprinter)(nil).Sum([]byte("from Go")),
		Response: idempotency.Response{Status: 202, Header: []byte("Content-Type: text/plain\r\n"), Body: []byte("by Go\x00\xff")}}
	attempt, _, err := store.Claim(t.Context(), idempotency.Key{Scope: "acme", Value: "go"})
	require.NoError(t, err)
	_, err = attempt.Complete(t.Context(), record, time.Hour)
	require.NoError(t, err)

	_, err = run(t.Context(), runPatience, env, compile(t, plainC, source("shared")))
	require.NoError(t, err)

	for key, body := range map[string]string{"c-lease": "by C, lent\x00\xff", "c-transaction": "by C, in its transaction\x00\xff"} {
		found, err := store.Lookup(t.Context(), idempotency.Key{Scope: "acme", Value: key})
		require.NoError(t, err)
		require.NotNil(t, found, key)
		require.Equal(t, (*idempotency.Fingerprinter)(nil).Sum([]byte("from C")), found.Fingerprint)
		require.Equal(t, idempotency.Response{Status: 201, Header: []byte("Location: /c\r\n"), Body: []byte(body)}, found.Response)
	}
}

func TestPythonReachesTheLibraryByCtypes(t *testing.T) {
	t.Parallel()
	needs(t, "python3")
	_, env := world(t)
	out, err := run(t.Context(), runPatience, env, "python3", filepath.Join("testdata", "lease.py"), filepath.Join(library(t), "lib", "libonlyonce.so.1"))
	require.NoError(t, err)
	require.Equal(t, "execute replay mismatch closed", strings.TrimSpace(out))
}
