package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
)

// wasKilled reports whether the error of run is that of a program that SIGKILL has ended.
func wasKilled(err error) bool {
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func charges(t *testing.T, pool *pgxpool.Pool, key string) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM charges WHERE key = $1", key).Scan(&n))
	return n
}

func TestAChargeThatIsKilledAnywhereIsMadeOnceByTheNextStart(t *testing.T) {
	t.Parallel()
	program := compile(t, plainC, source("crash"))
	schema, env := world(t)
	pool := pgtest.Pool(t, schema)
	_, err := pool.Exec(t.Context(), "CREATE TABLE charges (key text)")
	require.NoError(t, err)
	const rounds = 5
	for point, done := range map[string]string{ // what the first start can have left: nothing, or the charge with its response
		"begun": "executed", "claimed": "executed", "between effect and completion": "executed", "between completion and commit": "executed",
		"commit sent": "", "committed": "replayed",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			for round := range rounds {
				key := fmt.Sprintf("%s %d", point, round)
				_, err := run(t.Context(), runPatience, env, program, point, key)
				require.True(t, wasKilled(err), "it did not die there: %v", err)
				var out string
				require.Eventually(t, func() bool { // until the server has noticed that the owner is gone
					var err error
					out, err = run(t.Context(), runPatience, env, program, "nowhere", key)
					return assert.NoError(t, err) && out != "in progress\n"
				}, time.Minute, time.Millisecond)
				if done != "" {
					require.Equal(t, done+"\n", out)
				}
				require.Equal(t, 1, charges(t, pool, key))
				out, err = run(t.Context(), runPatience, env, program, "nowhere", key)
				require.NoError(t, err)
				require.Equal(t, "replayed\n", out)
				require.Equal(t, 1, charges(t, pool, key))
			}
		})
	}
}

// The example is compiled as its reader would.
func example(t *testing.T) string {
	t.Helper()
	prefix := library(t)
	libpq(t, filepath.Join("..", "examples", "charge.c"))
	program := filepath.Join(t.TempDir(), "charge")
	path := filepath.Join(prefix, "lib", "pkgconfig")
	flags, err := run(t.Context(), runPatience, []string{"PKG_CONFIG_PATH=" + path}, "pkg-config", "--cflags", "--libs", "onlyonce", "libpq")
	require.NoError(t, err)
	arguments := append([]string{"-Wall", "-Wextra", "-Werror", "-o", program, filepath.Join("..", "examples", "charge.c")}, strings.Fields(flags)...)
	_, err = run(t.Context(), buildPatience, nil, "gcc", append(arguments, "-Wl,-rpath,"+filepath.Join(prefix, "lib"))...)
	require.NoError(t, err)
	return program
}

func TestTheExampleIsShort(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "examples", "charge.c"))
	require.NoError(t, err)
	require.Less(t, strings.Count(string(text), "\n"), 60)
}

// The charge waits for a lock behind its claim while it is killed: there it has the key, and has not yet charged.
func TestTheExampleChargesOnceUnderKill9(t *testing.T) {
	t.Parallel()
	program := example(t)
	schema, env := world(t)
	env = append(env, "PGOPTIONS=-c search_path="+schema)
	pool := pgtest.Pool(t, schema)
	_, err := pool.Exec(t.Context(), "CREATE TABLE charges (key text, amount bigint)")
	require.NoError(t, err)
	for round := range 5 {
		key := fmt.Sprintf("order-%d", round)
		lock, err := pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = lock.Exec(t.Context(), "LOCK TABLE charges IN ACCESS EXCLUSIVE MODE")
		require.NoError(t, err)
		command := exec.Command(program, pgtest.URL(t), key, "500")
		command.Env = append(os.Environ(), env...)
		require.NoError(t, command.Start())
		require.Eventually(t, func() bool {
			var waits bool
			err := pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'charges'::regclass::oid AND NOT granted)").Scan(&waits)
			return err == nil && waits
		}, time.Minute, time.Millisecond)
		require.NoError(t, command.Process.Kill())
		require.Error(t, command.Wait())
		require.NoError(t, lock.Rollback(t.Context()))

		require.Eventually(t, func() bool {
			_, err := run(t.Context(), runPatience, env, program, pgtest.URL(t), key, "500")
			return err == nil
		}, time.Minute, time.Millisecond)
		require.Equal(t, 1, charges(t, pool, key))
		out, err := run(t.Context(), runPatience, env, program, pgtest.URL(t), key, "500")
		require.NoError(t, err)
		require.Equal(t, "charged (replayed)\n", out)
		_, err = run(t.Context(), runPatience, env, program, pgtest.URL(t), key, "501")
		require.ErrorContains(t, err, "used for another amount")
		require.Equal(t, 1, charges(t, pool, key))
	}
}

// Killed at moments that nobody has chosen, and started again until it says that it is done.
func TestTheExampleChargesOnceInAStorm(t *testing.T) {
	t.Parallel()
	program := example(t)
	schema, env := world(t)
	env = append(env, "PGOPTIONS=-c search_path="+schema)
	pool := pgtest.Pool(t, schema)
	_, err := pool.Exec(t.Context(), "CREATE TABLE charges (key text, amount bigint)")
	require.NoError(t, err)
	const keys = 12
	killed := 0
	for key := range keys {
		name := fmt.Sprintf("storm-%d", key)
		for try := 1; ; try++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(try*(key+1))*3*time.Millisecond)
			_, err := run(ctx, runPatience, env, program, pgtest.URL(t), name, "5")
			cancel()
			if err == nil {
				break
			}
			if wasKilled(err) {
				killed++
			}
			require.Less(t, try, 10000)
		}
		require.Equal(t, 1, charges(t, pool, name))
	}
	require.NotZero(t, killed)
}
