package server_test

import (
	"bytes"
	"flag"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/server"
)

func parse(environment map[string]string, args ...string) (server.Config, string, error) {
	var help bytes.Buffer
	config, err := server.ParseConfig(args, func(name string) string { return environment[name] }, &help)
	return config, help.String(), err
}

func TestConfigurationComesFromEnvironmentAndFlagsAndTheFlagWins(t *testing.T) {
	t.Parallel()
	config, _, err := parse(map[string]string{"DATABASE_URL": "postgres://a/b"})
	require.NoError(t, err)
	require.Equal(t, server.Config{Command: server.Serve, DatabaseURL: "postgres://a/b", ListenAddr: "127.0.0.1:8080", Shell: "echo",
		LogFormat: "text", Wait: 2 * time.Second, PoolSize: 16, ShutdownTimeout: 20 * time.Second, PSPURL: "http://127.0.0.1:8081",
		PSPTimeout: 5 * time.Second, Lease: 15 * time.Second, CompleterInterval: 5 * time.Second, ReceiptsInterval: time.Second}, config)

	config, _, err = parse(map[string]string{"DATABASE_URL": "postgres://a/b"}, "-demo")
	require.NoError(t, err)
	require.Empty(t, config.PSPURL, "the demo starts a provider of its own")

	environment := map[string]string{"DATABASE_URL": "postgres://a/b", "LISTEN_ADDR": ":1", "HTTP_SHELL": "nethttp", "LOG_LEVEL": "warn",
		"LOG_FORMAT": "json", "WAIT": "0s", "POOL_SIZE": "3", "SHUTDOWN_TIMEOUT": "1s", "DEMO": "true", "PSP_URL": "https://psp.example",
		"PSP_TIMEOUT": "2s", "LEASE": "3s", "COMPLETER_INTERVAL": "4s", "RECEIPTS_INTERVAL": "5s"}
	config, _, err = parse(environment)
	require.NoError(t, err)
	require.Equal(t, server.Config{Command: server.Serve, Demo: true, DatabaseURL: "postgres://a/b", ListenAddr: ":1", Shell: "nethttp",
		LogLevel: slog.LevelWarn, LogFormat: "json", PoolSize: 3, ShutdownTimeout: time.Second, PSPURL: "https://psp.example",
		PSPTimeout: 2 * time.Second, Lease: 3 * time.Second, CompleterInterval: 4 * time.Second, ReceiptsInterval: 5 * time.Second}, config)

	config, _, err = parse(environment, "-http", "echo", "migrate", "-listen", ":2", "-demo=false")
	require.NoError(t, err)
	require.Equal(t, server.Migrate, config.Command)
	require.Equal(t, "echo", config.Shell)
	require.Equal(t, ":2", config.ListenAddr)
}

func TestAWrongConfigurationIsRefusedWithWhatToGive(t *testing.T) {
	t.Parallel()
	good := map[string]string{"DATABASE_URL": "postgres://a/b"}
	for _, c := range []struct {
		environment map[string]string
		args        []string
		says        string
	}{
		{nil, nil, "set DATABASE_URL"},
		{good, []string{"-http", "fiber"}, "give echo or nethttp"},
		{good, []string{"-log-format", "xml"}, "give text or json"},
		{good, []string{"-log-level", "loud"}, "log-level"},
		{good, []string{"-wait", "-1s"}, "give 0s or more"},
		{good, []string{"-pool-size", "0"}, "give 1 to"},
		{good, []string{"-shutdown-timeout", "0s"}, "give more than 0s"},
		{good, []string{"-psp-url", "psp:8081"}, "give http://host:port"},
		{good, []string{"-demo", "-psp-url", "nowhere"}, "give http://host:port"},
		{good, []string{"-psp-timeout", "0s"}, "give more than 0s"},
		{good, []string{"-psp-timeout", "30s"}, "at most 25s"},
		{good, []string{"-lease", "10ms"}, "give 1s or more"},
		{good, []string{"-completer-interval", "0s"}, "give more than 0s"},
		{good, []string{"-receipts-interval", "-1s"}, "give more than 0s"},
		{good, []string{"start"}, "give serve, migrate or seed"},
		{good, []string{"migrate", "seed"}, "one command too many"},
		{good, []string{"-demo", "migrate"}, "by itself"},
		{good, []string{"-nothing"}, "-nothing"},
		{map[string]string{"DATABASE_URL": "postgres://a/b", "POOL_SIZE": "many"}, nil, "POOL_SIZE"},
	} {
		_, _, err := parse(c.environment, c.args...)
		require.ErrorContains(t, err, c.says, "%v %v", c.environment, c.args)
	}
}

func TestHelpNamesEveryFlagAndItsVariable(t *testing.T) {
	t.Parallel()
	_, help, err := parse(nil, "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	for _, name := range []string{"-database-url", "DATABASE_URL", "-listen", "LISTEN_ADDR", "-http", "HTTP_SHELL", "-log-level", "LOG_LEVEL",
		"-log-format", "LOG_FORMAT", "-wait", "WAIT", "-pool-size", "POOL_SIZE", "-shutdown-timeout", "SHUTDOWN_TIMEOUT", "-demo", "DEMO",
		"-psp-url", "PSP_URL", "-psp-timeout", "PSP_TIMEOUT", "-lease", "LEASE", "-completer-interval", "COMPLETER_INTERVAL",
		"-receipts-interval", "RECEIPTS_INTERVAL", "migrate", "seed"} {
		require.Contains(t, help, name)
	}
}
