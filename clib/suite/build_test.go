package suite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// work is where everything that is built stands; it is gone after the tests.
var work string

func TestMain(m *testing.M) {
	// What ignores a signal has its children ignore it. Programs are to start as if from a terminal, also where the tests run behind nohup.
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	code := func() int {
		var err error
		if work, err = os.MkdirTemp("", "onlyonce-clib"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(work)
		return m.Run()
	}()
	os.Exit(code)
}

// needs skips a test where a program is missing.
func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not here (Debian: gcc, g++, make, binutils, pkg-config, python3)", program)
		}
	}
}

// patience bounds what builds, and what runs.
const (
	buildPatience = 8 * time.Minute
	runPatience   = 2 * time.Minute
)

// installed is the library as make install leaves it, below a folder of the tests'.
var installed = sync.OnceValues(func() (string, error) {
	prefix := filepath.Join(work, "prefix")
	_, err := run(context.Background(), buildPatience, nil, "make", "-C", "..", "install", "PREFIX="+prefix, "OUT="+filepath.Join(work, "build"))
	return prefix, err
})

// probed is the archive of a build that panics at will.
var probed = sync.OnceValues(func() (string, error) {
	out := filepath.Join(work, "probed")
	_, err := run(context.Background(), buildPatience, nil, "make", "-C", "..", "static", "OUT="+out, "TAGS=onlyonce_probe")
	return out, err
})

func library(t testing.TB) string {
	t.Helper()
	needs(t, "gcc", "make")
	prefix, err := installed()
	require.NoError(t, err)
	return prefix
}

// run returns what a command prints, and in its error, what it complains about.
func run(ctx context.Context, patience time.Duration, env []string, name string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	command := exec.CommandContext(ctx, name, arguments...)
	command.Env = append(os.Environ(), env...)
	command.WaitDelay = 5 * time.Second
	var out, complaints bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaints
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s%s", name, strings.Join(arguments, " "), err, out.String(), complaints.String())
	}
	return out.String(), nil
}

// variant is a way to compile a program.
type variant struct {
	name     string
	compiler []string
	static   bool
	env      []string
}

var (
	strict    = []string{"-Wall", "-Wextra", "-Werror"}
	plainC    = variant{name: "c11", compiler: append([]string{"gcc", "-std=c11", "-D_GNU_SOURCE", "-pedantic-errors", "-O1", "-g"}, strict...)}
	plainCXX  = variant{name: "c++17", compiler: append([]string{"g++", "-x", "c++", "-std=c++17", "-O1", "-g"}, strict...)}
	archive   = variant{name: "archive", compiler: plainC.compiler, static: true}
	sanitized = variant{name: "address_sanitizer", compiler: append([]string{"gcc", "-std=c11", "-D_GNU_SOURCE", "-g", "-fsanitize=address,undefined",
		"-fno-sanitize-recover=all", "-fno-omit-frame-pointer"}, strict...), static: true, env: []string{"ASAN_OPTIONS=detect_leaks=1:abort_on_error=1"}}
)

// compile returns the program that testdata/name.c becomes. Those that need libpq are skipped where its headers are missing.
func compile(t *testing.T, v variant, source string, libraries ...string) string {
	t.Helper()
	needs(t, v.compiler[0])
	prefix := library(t)
	folder := filepath.Join(prefix, "lib")
	program := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(source), filepath.Ext(source)))
	arguments := append([]string{}, v.compiler[1:]...)
	arguments = append(arguments, "-I"+filepath.Join(prefix, "include"), "-o", program, source)
	arguments = append(arguments, libpq(t, source)...)
	if v.compiler[0] == "g++" {
		arguments = append(arguments, "-x", "none")
	}
	if v.static {
		if len(libraries) > 0 {
			folder = libraries[0]
		}
		arguments = append(arguments, filepath.Join(folder, "libonlyonce.a"), "-lresolv", "-lpthread")
	} else {
		arguments = append(arguments, "-L"+folder, "-Wl,-rpath,"+folder, "-lonlyonce", "-lpthread")
	}
	_, err := run(t.Context(), buildPatience, nil, v.compiler[0], arguments...)
	require.NoError(t, err)
	return program
}

// libpq returns the flags for a program that includes onlyonce_libpq.h.
func libpq(t *testing.T, source string) []string {
	t.Helper()
	text, err := os.ReadFile(source)
	require.NoError(t, err)
	if !bytes.Contains(text, []byte("onlyonce_libpq.h")) {
		return nil
	}
	flags, err := run(t.Context(), runPatience, nil, "pkg-config", "--cflags", "--libs", "libpq")
	if err != nil {
		t.Skip("libpq's headers or pkg-config are not here (Debian: libpq-dev, pkg-config): ", err)
	}
	return strings.Fields(flags)
}
