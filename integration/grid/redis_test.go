package grid

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/redisserver"
)

var startRedis = sync.OnceValues(func() (*redisserver.Server, error) { return redisserver.Start(context.Background()) })

var redisStarted atomic.Bool

// redisAddress is a Redis that all tests share, each with keys of its own.
func redisAddress(t *testing.T) string {
	t.Helper()
	server, err := startRedis()
	if errors.Is(err, redisserver.ErrNoProgram) {
		t.Skip(err)
	}
	require.NoError(t, err)
	redisStarted.Store(true)
	return server.Address
}

func stopRedis() {
	if redisStarted.Load() {
		server, _ := startRedis()
		_ = server.Stop()
	}
}
