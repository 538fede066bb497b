package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/integration/database"
	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/overlay"
)

// program is the server, with the race detector and with a clock that can be moved. It is built once.
var program = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	output := filepath.Join(scratch, "tortureserver")
	return output, overlay.Build(ctx, overlay.Target{Root: "../..", Package: "integration/cmd/tortureserver", Output: output, Race: true}, overlay.Clock...)
})

var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "onlyonce-server-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// tortured runs a configuration, and fails the test where that cannot be done.
func tortured(t *testing.T, config Config) Report {
	t.Helper()
	server, err := program()
	require.NoError(t, err)
	config.Server = server
	if config.Folder == "" {
		config.Folder = os.TempDir() // not the test's: what is found is to be looked at afterwards
	}
	if config.Seed == 0 {
		config.Seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t.Logf("seed %d", config.Seed)
	ctx, cancel := context.WithTimeout(t.Context(), config.Duration+3*time.Minute)
	defer cancel()
	report, err := Run(ctx, config)
	require.NoError(t, err)
	return report
}

func TestThirtySecondsOfEverything(t *testing.T) {
	t.Parallel()
	report := tortured(t, Config{Duration: 30 * time.Second})
	t.Logf("\n%v", report)
	assert.True(t, report.Clean())
	assert.Greater(t, report.Keys, 50)
	for _, f := range report.Faults {
		if f.Impossible == nil {
			assert.Positive(t, f.Fired, "%s never struck; it missed %d times", f.Name, f.Missed)
		}
	}
}

func TestEveryLockHoldsUnderTorture(t *testing.T) {
	t.Parallel()
	for _, lock := range []string{"shard", "insert"} {
		report := tortured(t, Config{Duration: 10 * time.Second, ServerFlags: []string{"-lock", lock}})
		t.Logf("%s\n%v", lock, report)
		assert.True(t, report.Clean(), lock)
		assert.Greater(t, report.Keys, 10)
	}
}

// What finds nothing may be blind.
func TestAServiceWithoutProtectionIsConvicted(t *testing.T) {
	t.Parallel()
	report := tortured(t, Config{Duration: 2 * time.Second, Faults: []string{}, ServerFlags: []string{"-unprotected"}, Folder: t.TempDir()})
	assert.False(t, report.Clean())
	assert.Positive(t, report.Verdict.Duplicates)
	for _, rule := range []history.Rule{history.Once, history.SameBytes, history.Recorded, history.Undisturbed} {
		assert.Contains(t, report.Verdict.Broken(), rule)
	}

	// And its history says the same when it is read again.
	file, err := os.Open(filepath.Join(report.Folder, "history.jsonl"))
	require.NoError(t, err)
	defer file.Close()
	kept, err := history.Read(file)
	require.NoError(t, err)
	assert.Equal(t, report.Verdict.Broken(), history.Check(kept).Broken())
}

func TestNoHandlerRunsTwiceWhereOnlyClientsMisbehave(t *testing.T) {
	t.Parallel()
	report := tortured(t, Config{Duration: 5 * time.Second, Faults: []string{"vanish"}})
	assert.True(t, report.Clean(), report)
	assert.Positive(t, report.Faults[0].Fired)
}

func TestARunThatIsInterruptedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	server, err := program()
	require.NoError(t, err)
	folder := t.TempDir()
	own := filepath.Join(folder, "server") // by which its processes are known
	require.NoError(t, os.Link(server, own))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	alive := 0
	_, err = Run(ctx, Config{
		Server: own, Duration: time.Hour, Seed: 1, Folder: folder,
		Progress: func(p Progress) {
			if p.Elapsed > 3*time.Second {
				alive = processes(t, own)
				cancel()
			}
		},
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Positive(t, alive)
	assert.Zero(t, processes(t, own))
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Len(t, left, 1, "beside the server")
}

// processes counts those that run a program, where the system tells.
func processes(t *testing.T, program string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	if len(all) == 0 {
		t.Skip("this system does not tell which processes there are")
	}
	for _, link := range all {
		if runs, err := os.Readlink(link); err == nil && strings.TrimSuffix(runs, " (deleted)") == program {
			n++
		}
	}
	return n
}

func TestWithoutServerBinariesItWorksInASchemaOfItsOwnAndSaysWhatItCannotDo(t *testing.T) {
	found, err := database.Find(t.Context())
	require.NoError(t, err)
	defer func() { assert.NoError(t, found.Close()) }()
	t.Setenv(database.URLVariable, found.URL)

	report := tortured(t, Config{Duration: 6 * time.Second, binaries: t.TempDir()})

	assert.True(t, report.Clean(), report)
	for _, f := range report.Faults {
		switch f.Name {
		case "backend", "restart", "disk-full":
			assert.Error(t, f.Impossible, f.Name)
			assert.Zero(t, f.Fired, f.Name)
			assert.Contains(t, report.String(), "not possible here")
		default:
			assert.NoError(t, f.Impossible, f.Name)
		}
	}
	conn, err := pgx.Connect(t.Context(), found.URL)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	var schemas int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'torture\_%'`).Scan(&schemas))
	assert.Zero(t, schemas)
}
