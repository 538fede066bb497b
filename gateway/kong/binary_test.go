package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	buildOnce sync.Once
	built     string
	buildErr  error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(filepath.Dir(built))
	}
	os.Exit(code)
}

// binary builds the plugin as its users do. Its name is the plugin's name.
func binary(t *testing.T) string {
	t.Helper()
	buildOnce.Do(func() {
		folder, err := os.MkdirTemp("", "onlyonce-kong-")
		if err != nil {
			buildErr = err
			return
		}
		built = filepath.Join(folder, "onlyonce")
		build := exec.Command("go", "build", "-o", built, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		buildErr = build.Run()
	})
	require.NoError(t, buildErr)
	return built
}
