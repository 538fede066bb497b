// Package imports holds the project to the direction in which its packages may import each other.
package imports

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/onlyonce/onlyonce"

// rule speaks about the non-test files of one folder, and of those below it where deep is set.
type rule struct {
	folder string
	deep   bool
	says   string
	allows func(imported string) bool
}

// stores and adapters know nothing of each other: whoever uses both brings them together.
var (
	stores   = []string{"pgstore", "sqlstore", "redisstore", "memstore", "migrations"}
	adapters = []string{"nethttp", "echo", "echov5", "gin", "fiber", "fiberv2", "internal/httpidem", "internal/fasthttpidem"}
)

var rules = append(ofAdapters(), []rule{
	{"idempotency", false, "imports the standard library only", isStandard},
	{"idempotency/storetest", false, "imports the standard library and idempotency only", isStandardOr("idempotency")},
	{"idempotency/seal", true, "imports the standard library only", isStandard},
	{"memstore", true, "imports the standard library and idempotency only", isStandardOr("idempotency")},
	{"replaycache", true, "is a cache: it never imports a store or an adapter", isNot(slices.Concat(stores, adapters)...)},
	{"migrations", true, "imports embed only", func(imported string) bool { return imported == "embed" }},
	{"internal/freeport", true, "imports the standard library only", isStandard},
	{"internal/ephemeral", true, "imports the standard library and internal/freeport only", isStandardOr("internal/freeport")},
	{"internal/redisserver", true, "imports the standard library, internal/child and internal/freeport only", isStandardOr("internal/child", "internal/freeport")},
	{"internal/keytable", true, "is what stores share: it imports the standard library and idempotency only", isStandardOr("idempotency")},
	{"internal/fasthttpidem", true, "is for every framework on fasthttp: it never imports Fiber", isNotOf("github.com/gofiber")},
	{"pgstore", true, "is a store: it never imports an adapter", isNot(adapters...)},
	{"pgstore", true, "never uses database/sql, which sends a statement again whose reply was lost", func(imported string) bool { return imported != "database/sql" }},
	{"sqlstore", true, "is a store for every driver: it imports the standard library, idempotency and internal/keytable only", isStandardOr("idempotency", "internal/keytable")},
	{"redisstore", true, "is a store: it never imports an adapter, another store or an internal package", isNot(append(adapters, "internal", "pgstore", "sqlstore", "memstore", "migrations")...)},
	{"gateway/leased", true, "stands on whatever lends keys: it imports the standard library and idempotency only", isStandardOr("idempotency")},
	{"gateway/client", true, "speaks HTTP: it never imports a store, an adapter or the service", isNot(slices.Concat(stores, []string{"nethttp", "gateway/service"})...)},
	{"gateway/service", true, "stands on whatever lends keys: it never imports a store", isNot(stores...)},
	{"gateway/proxy", true, "stands on whatever lends keys: it never imports a store", isNot(stores...)},
	{"clib", true, "is for programs that have an HTTP of their own: it never imports an adapter", isNot(append(adapters, "sqlstore", "redisstore", "memstore")...)},
	{"examples/store", true, "imports the standard library and idempotency only", isStandardOr("idempotency")},
	{"examples", true, "is made to be copied: it never imports an internal package", isNotInternal},
}...)

func ofAdapters() (found []rule) {
	for _, folder := range adapters {
		deep := !strings.HasPrefix(folder, "fiber") // which have whole programs beside them
		found = append(found, rule{folder, deep, "is an adapter: it never imports a store", isNot(stores...)})
	}
	return found
}

// A rule about a package that is gone would hold for ever.
var required = []string{"idempotency", "pgstore", "nethttp"}

// Whoever imports the library downloads what the root module requires.
var heavy = []string{"github.com/pressly/goose", "github.com/testcontainers/testcontainers-go"}

func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func isStandardOr(folders ...string) func(string) bool {
	return func(imported string) bool {
		return isStandard(imported) || slices.ContainsFunc(folders, func(folder string) bool { return imported == module+"/"+folder })
	}
}

func isNot(folders ...string) func(string) bool {
	return func(imported string) bool {
		return !slices.ContainsFunc(folders, func(folder string) bool { return within(imported, module+"/"+folder) })
	}
}

func isNotOf(others string) func(string) bool {
	return func(imported string) bool { return !within(imported, others) }
}

func isNotInternal(imported string) bool {
	return !within(imported, module+"/internal")
}

func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

// violations names each file that breaks a rule, and the rule.
func violations(repository fs.FS) ([]string, error) {
	var found []string
	present := map[string]bool{}
	var modules []string
	err := fs.WalkDir(repository, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (entry.Name()[0] == '.' || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.Name() == "go.mod":
			modules = append(modules, path.Dir(name))
			return nil
		case path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		present[path.Dir(name)] = true
		broken, err := brokenBy(repository, name)
		found = append(found, broken...)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, folder := range required {
		if !present[folder] {
			found = append(found, fmt.Sprintf("%s: no Go file there: its rules hold for nothing; see internal/imports", folder))
		}
	}
	broken, err := brokenByModules(repository, modules)
	return append(found, broken...), err
}

func brokenBy(repository fs.FS, name string) ([]string, error) {
	source, err := fs.ReadFile(repository, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		for _, rule := range rules {
			folder := path.Dir(name)
			applies := folder == rule.folder || rule.deep && within(folder, rule.folder)
			if applies && !rule.allows(imported) {
				found = append(found, fmt.Sprintf("%s imports %s, but %s %s", name, imported, rule.folder, rule.says))
			}
		}
	}
	return found, nil
}

func brokenByModules(repository fs.FS, modules []string) ([]string, error) {
	var found []string
	root, err := fs.ReadFile(repository, "go.mod")
	if err != nil {
		return nil, err
	}
	for _, path := range heavy {
		if strings.Contains(string(root), path) {
			found = append(found, fmt.Sprintf("go.mod requires %s: only nested modules may, users of the library would download it", path))
		}
	}
	work, err := fs.ReadFile(repository, "go.work")
	if err != nil {
		return nil, err
	}
	for _, folder := range modules {
		if folder != "." {
			folder = "./" + folder
		}
		if !slices.Contains(strings.Fields(string(work)), folder) {
			found = append(found, fmt.Sprintf("go.work does not use %s: its tests would not run: go work use %s", folder, folder))
		}
	}
	return found, nil
}

func TestEveryImportGoesInItsDirection(t *testing.T) {
	t.Parallel()
	_, here, _, ok := runtime.Caller(0)
	require.True(t, ok)
	found, err := violations(os.DirFS(filepath.Join(filepath.Dir(here), "..", "..")))
	require.NoError(t, err)
	assert.Empty(t, found, strings.Join(found, "\n"))
}

func TestAWrongImportIsFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file, imports, wrong string
	}{
		{"idempotency/a.go", "time", ""},
		{"idempotency/a.go", "github.com/jackc/pgx/v5", "imports the standard library only"},
		{"idempotency/a.go", module + "/migrations", "imports the standard library only"},
		{"idempotency/storetest/a.go", module + "/idempotency", ""},
		{"idempotency/storetest/a.go", module + "/pgstore", "the standard library and idempotency only"},
		{"idempotency/seal/a.go", "crypto/aes", ""},
		{"idempotency/seal/a.go", module + "/idempotency", "the standard library only"},
		{"replaycache/a.go", module + "/pgstore", "never imports a store or an adapter"},
		{"memstore/a.go", module + "/idempotency", ""},
		{"memstore/a.go", "github.com/jackc/pgx/v5", "the standard library and idempotency only"},
		{"migrations/a.go", "embed", ""},
		{"migrations/a.go", "io/fs", "imports embed only"},
		{"internal/freeport/a.go", "github.com/jackc/pgx/v5", "the standard library only"},
		{"internal/ephemeral/a.go", "github.com/jackc/pgx/v5", "the standard library and internal/freeport only"},
		{"nethttp/a.go", module + "/internal/httpidem", ""},
		{"nethttp/a.go", module + "/pgstore", "never imports a store"},
		{"echo/below/a.go", module + "/memstore", "never imports a store"},
		{"echov5/a.go", "github.com/labstack/echo/v5", ""},
		{"sqlstore/a.go", "database/sql", ""},
		{"sqlstore/a.go", module + "/internal/keytable", ""},
		{"sqlstore/a.go", "github.com/jackc/pgx/v5/stdlib", "is a store for every driver"},
		{"sqlstore/a.go", module + "/pgstore", "is a store for every driver"},
		{"internal/keytable/a.go", "github.com/jackc/pgx/v5", "the standard library and idempotency only"},
		{"nethttp/a.go", module + "/sqlstore", "never imports a store"},
		{"fiber/a.go", module + "/internal/fasthttpidem", ""},
		{"fiber/a.go", module + "/pgstore", "never imports a store"},
		{"fiberv2/a.go", module + "/memstore", "never imports a store"},
		{"internal/fasthttpidem/a.go", "github.com/valyala/fasthttp", ""},
		{"internal/fasthttpidem/a.go", "github.com/gofiber/fiber/v3", "never imports Fiber"},
		{"internal/fasthttpidem/fasthttptest/a.go", module + "/pgstore", "never imports a store"},
		{"pgstore/a.go", module + "/fiber", "never imports an adapter"},
		{"echov5/a.go", module + "/memstore", "never imports a store"},
		{"gin/a.go", module + "/internal/httpidem", ""},
		{"gin/a.go", module + "/pgstore", "never imports a store"},
		{"internal/httpidem/a.go", module + "/pgstore", "never imports a store"},
		{"internal/redisserver/a.go", module + "/internal/child", ""},
		{"internal/redisserver/a.go", "github.com/redis/go-redis/v9", "the standard library, internal/child and internal/freeport only"},
		{"gateway/leased/a.go", module + "/pgstore", "the standard library and idempotency only"},
		{"gateway/backend/a.go", module + "/pgstore", ""},
		{"gateway/client/a.go", module + "/gateway/service", "never imports a store, an adapter or the service"},
		{"gateway/service/a.go", module + "/pgstore", "never imports a store"},
		{"gateway/proxy/a.go", module + "/nethttp", ""},
		{"gateway/proxy/a.go", module + "/redisstore", "never imports a store"},
		{"nethttp/a.go", module + "/redisstore", "never imports a store"},
		{"redisstore/a.go", "github.com/redis/go-redis/v9", ""},
		{"redisstore/a.go", module + "/idempotency", ""},
		{"redisstore/a.go", module + "/nethttp", "never imports an adapter, another store"},
		{"redisstore/a.go", module + "/pgstore", "never imports an adapter, another store"},
		{"redisstore/a.go", module + "/internal/redisserver", "never imports an adapter, another store"},
		{"pgstore/a.go", "github.com/jackc/pgx/v5", ""},
		{"pgstore/a.go", module + "/echo", "never imports an adapter"},
		{"pgstore/a.go", module + "/gin", "never imports an adapter"},
		{"replaycache/a.go", module + "/echov5", "never imports a store or an adapter"},
		{"examples/store/a.go", module + "/idempotency", ""},
		{"examples/store/a.go", module + "/memstore", "the standard library and idempotency only"},
		{"examples/payments/server/a.go", module + "/echo", ""},
		{"examples/payments/server/a.go", module + "/internal/pgtest", "never imports an internal package"},
		{"clib/export.go", module + "/pgstore", ""},
		{"clib/export.go", module + "/nethttp", "never imports an adapter"},
		{"idempotency/a_test.go", module + "/pgstore", ""},
		{"idempotency/testdata/a.go", module + "/pgstore", ""},
	}
	for _, test := range tests {
		t.Run(test.file+" "+test.imports, func(t *testing.T) {
			t.Parallel()
			repository := sound()
			repository[test.file] = goFile(test.imports)
			found, err := violations(repository)
			require.NoError(t, err)
			if test.wrong == "" {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Contains(t, found[0], test.file+" imports "+test.imports)
			assert.Contains(t, found[0], test.wrong)
		})
	}
}

func TestAMissingPackageAHeavyRootAndAForgottenModuleAreFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		change  func(fstest.MapFS)
		message string
	}{
		{"nothing", func(fstest.MapFS) {}, ""},
		{"missing", func(r fstest.MapFS) { delete(r, "pgstore/store.go") }, "pgstore: no Go file there"},
		{"goose", func(r fstest.MapFS) { r["go.mod"] = text("require github.com/pressly/goose/v3 v3.29.0") }, "go.mod requires github.com/pressly/goose"},
		{"module", func(r fstest.MapFS) { r["redisstore/go.mod"] = text("") }, "go work use ./redisstore"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			repository := sound()
			test.change(repository)
			found, err := violations(repository)
			require.NoError(t, err)
			if test.message == "" {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Contains(t, found[0], test.message)
		})
	}
}

func sound() fstest.MapFS {
	return fstest.MapFS{
		"go.mod":              text("module " + module),
		"go.work":             text("use (\n\t.\n\t./bench\n)\n"),
		"bench/go.mod":        text(""),
		"idempotency/core.go": goFile("context"),
		"pgstore/store.go":    goFile("context"),
		"nethttp/http.go":     goFile("context"),
	}
}

func text(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }

func goFile(imported string) *fstest.MapFile {
	return text(fmt.Sprintf("package p\n\nimport _ %q\n", imported))
}
