package database

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

func TestTheGivenDatabaseComesFirstAndIsLeftAlone(t *testing.T) {
	t.Setenv(URLVariable, "postgres://given")
	t.Setenv(WayVariable, "")

	found, err := Find(context.Background())

	require.NoError(t, err)
	assert.Equal(t, "postgres://given", found.URL)
	require.NoError(t, found.Close())
}

func TestALocalClusterAnswersUntilItIsClosed(t *testing.T) {
	t.Setenv(WayVariable, "")
	if _, err := ephemeral.FindBinaries(""); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	found, err := Search{Order: []Way{Local}, Durable: true, Settings: map[string]string{"max_connections": "12"}}.Find(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { _ = found.Close() })

	conn, err := pgx.Connect(ctx, found.URL)
	require.NoError(t, err)
	var fsync, connections string
	require.NoError(t, conn.QueryRow(ctx, "SELECT current_setting('fsync'), current_setting('max_connections')").
		Scan(&fsync, &connections))
	assert.Equal(t, "on", fsync)
	assert.Equal(t, "12", connections)
	require.NoError(t, conn.Close(ctx))

	require.NoError(t, found.Close())
	require.NoError(t, found.Close(), "a second close does nothing")
	_, err = pgx.Connect(ctx, found.URL)
	require.Error(t, err)
}

func TestAContainerAnswersUntilItIsClosed(t *testing.T) {
	t.Setenv(WayVariable, "")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := DockerAnswers(ctx); err != nil {
		t.Skip(err)
	}

	found, err := Find(ctx, Docker)
	if err != nil && strings.Contains(err.Error(), "no such host") {
		t.Skipf("Docker answers, but its registry cannot be reached: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = found.Close() })
	conn, err := pgx.Connect(ctx, found.URL)
	require.NoError(t, err)
	require.NoError(t, conn.Close(ctx))

	require.NoError(t, found.Close())
	_, err = pgx.Connect(ctx, found.URL)
	require.Error(t, err)
}

func TestWithNoWayTheErrorNamesAllThree(t *testing.T) {
	t.Setenv(URLVariable, "")
	t.Setenv(WayVariable, "docker")
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")

	_, err := Find(context.Background(), Given)

	for _, way := range []string{"set DATABASE_URL=", "server binaries", "start Docker", "given: DATABASE_URL is not set"} {
		require.ErrorContains(t, err, way)
	}
}

func TestTheOrderOfSearching(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		order  []Way
		forced string
		want   []Way
		fails  string
	}{
		{name: "what is given comes first", want: []Way{Given, Local, Docker}},
		{name: "the caller's order is kept", order: []Way{Docker, Given, Local}, want: []Way{Docker, Given, Local}},
		{name: "forcing local leaves Docker out", order: []Way{Docker, Given, Local}, forced: "local", want: []Way{Given, Local}},
		{name: "forcing docker leaves local out", forced: "docker", want: []Way{Given, Docker}},
		{name: "forcing cannot add what the caller left out", order: []Way{Local}, forced: "docker", want: []Way{}},
		{name: "an unknown force is an error", forced: "podman", fails: `ONLYONCE_TEST_POSTGRES is "podman"`},
		{name: "an unknown way is an error", order: []Way{"cloud"}, fails: `no way "cloud"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := Search{Order: test.order}.order(test.forced)
			if test.fails != "" {
				require.ErrorContains(t, err, test.fails)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}
