package suite

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// declared are the functions that onlyonce.h declares.
func declared(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "include", "onlyonce.h"))
	require.NoError(t, err)
	for _, found := range regexp.MustCompile(`(?m)^OO_API .*?\b(oo_\w+)\(`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, found[1])
	}
	slices.Sort(names)
	require.NotEmpty(t, names)
	return names
}

func TestTheSharedLibraryExportsWhatTheHeaderDeclaresAndNothingElse(t *testing.T) {
	t.Parallel()
	needs(t, "nm")
	out, err := run(t.Context(), runPatience, nil, "nm", "-D", "--defined-only", "--without-symbol-versions", filepath.Join(library(t), "lib", "libonlyonce.so"))
	require.NoError(t, err)
	var exported []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if fields[1] != "A" { // the version itself
			exported = append(exported, fields[2])
		}
	}
	slices.Sort(exported)
	require.Equal(t, declared(t), exported)
}

func TestTheArchiveDefinesWhatTheHeaderDeclaresAndNothingElse(t *testing.T) {
	t.Parallel()
	needs(t, "nm")
	out, err := run(t.Context(), runPatience, nil, "nm", "--defined-only", "--extern-only", filepath.Join(library(t), "lib", "libonlyonce.a"))
	require.NoError(t, err)
	var defined []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 3 {
			defined = append(defined, fields[2])
		}
	}
	slices.Sort(defined)
	require.Equal(t, declared(t), defined)
}

func TestTheSharedLibraryHasASonameAndItsLinks(t *testing.T) {
	t.Parallel()
	needs(t, "readelf")
	folder := filepath.Join(library(t), "lib")
	out, err := run(t.Context(), runPatience, nil, "readelf", "-d", filepath.Join(folder, "libonlyonce.so"))
	require.NoError(t, err)
	require.Contains(t, out, "Library soname: [libonlyonce.so.1]")
	to, err := filepath.EvalSymlinks(filepath.Join(folder, "libonlyonce.so.1"))
	require.NoError(t, err)
	require.Equal(t, "libonlyonce.so.1.0.0", filepath.Base(to))
}

func TestTheManPageNamesEveryFunctionAndCode(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(library(t), "share", "man", "man3", "onlyonce.3"))
	require.NoError(t, err)
	for _, name := range declared(t) {
		require.Contains(t, string(page), name)
	}
	header, err := os.ReadFile(filepath.Join("..", "include", "onlyonce.h"))
	require.NoError(t, err)
	for _, code := range regexp.MustCompile(`(?m)^\s(OO_E[A-Z]+) = `).FindAllStringSubmatch(string(header), -1) {
		require.Contains(t, string(page), code[1])
	}
}

func TestPkgConfigGivesTheFlags(t *testing.T) {
	t.Parallel()
	needs(t, "pkg-config")
	prefix := library(t)
	env := []string{"PKG_CONFIG_PATH=" + filepath.Join(prefix, "lib", "pkgconfig")}
	out, err := run(t.Context(), runPatience, env, "pkg-config", "--cflags", "--libs", "onlyonce")
	require.NoError(t, err)
	require.Equal(t, "-I"+prefix+"/include -L"+prefix+"/lib -lonlyonce", strings.TrimSpace(out))
	out, err = run(t.Context(), runPatience, env, "pkg-config", "--static", "--libs", "onlyonce")
	require.NoError(t, err)
	require.Contains(t, out, "-lresolv -lpthread")
}
