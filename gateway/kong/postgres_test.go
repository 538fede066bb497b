package main_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/internal/pgtest"
)

// gateway is Kong with the plugin's own process, and PostgreSQL.
type gateway struct {
	*kongtest.Kong
	t      *testing.T
	server *kongtest.Server
	pool   *pgxpool.Pool
	config map[string]any
}

// begin starts the plugin's process, with settings added to the configuration.
func begin(t *testing.T, settings map[string]any) *gateway {
	t.Helper()
	schema := pgtest.Schema(t)
	config := map[string]any{"url": pgtest.SchemaURL(t, schema) + "&pool_max_conns=4", "timeout_ms": 30_000, "__seq__": 0}
	for name, value := range settings {
		config[name] = value
	}
	g := &gateway{t: t, server: kongtest.Start(t, binary(t)), pool: pgtest.Pool(t, schema), config: config}
	g.Kong = g.worker()
	return g
}

// worker is one more of Kong's workers: its plugin's instance is its own, and so is its count.
func (g *gateway) worker() *kongtest.Kong {
	k := &kongtest.Kong{Dial: g.server.Configure(g.config).Dial}
	k.Service = func(kongtest.Request) kongtest.Answer {
		return kongtest.Answer{Status: 201, Header: map[string][]string{"content-type": {"text/plain"}}, Body: fmt.Appendf(nil, "payment %d", k.Passed())}
	}
	return k
}

func payment(key string) kongtest.Request {
	return kongtest.Request{
		Method: "POST", Target: "/v1/payments", Consumer: "acme", Body: []byte(`{"amount": 100}`),
		Header: map[string][]string{"idempotency-key": {key}, "content-type": {"application/json"}},
	}
}

// row is the key's state in the table, and whether its lease lasts.
func (g *gateway) row(key string) (state string) {
	g.t.Helper()
	err := g.pool.QueryRow(context.Background(),
		`SELECT coalesce((SELECT state || CASE WHEN leased_until > now() THEN ', leased' ELSE '' END
			FROM idempotency_keys WHERE scope = 'consumer:acme' AND key = $1), 'none')`,
		key).Scan(&state)
	require.NoError(g.t, err)
	return state
}

// leaseEnds moves the database's clock, as far as the key's lease can see.
func (g *gateway) leaseEnds(key string) {
	g.t.Helper()
	tag, err := g.pool.Exec(context.Background(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 second' WHERE key = $1`, key)
	require.NoError(g.t, err)
	require.EqualValues(g.t, 1, tag.RowsAffected())
}

func TestEachFateLeavesItsStateInPostgres(t *testing.T) {
	t.Parallel()
	for _, unknown := range []string{"hold", "release"} {
		g := begin(t, map[string]any{"unknown": unknown, "allow_http2": true})
		left := "pending, leased"
		if unknown == "release" {
			left = "none"
		}
		for i, c := range []struct {
			fate   kongtest.Fate
			status int
			want   string
		}{
			{kongtest.Answers, 201, "completed"}, {kongtest.Answers, 404, "completed"}, {kongtest.Answers, 500, "none"}, {kongtest.Answers, 429, "none"},
			{kongtest.Vanishes, 201, "completed"}, {kongtest.Vanishes, 502, "none"},
			{kongtest.Refuses, 0, left}, {kongtest.IsCut, 0, left},
			{kongtest.WorkerDies, 201, "pending, leased"}, {kongtest.Unbuffered, 201, "pending, leased"},
		} {
			key := fmt.Sprintf("key-%d", i)
			g.Service = func(kongtest.Request) kongtest.Answer { return kongtest.Answer{Status: c.status, Body: []byte("once")} }
			first := g.Do(t, payment(key), c.fate)
			require.True(t, first.Passed)
			assert.Equal(t, c.want, g.row(key), "%v %d, %s", c.fate, c.status, unknown)

			second := g.Do(t, payment(key), kongtest.Answers)
			switch c.want {
			case "completed":
				assert.False(t, second.Passed)
				assert.Equal(t, "once", string(second.Client.Body))
				assert.Equal(t, "completed", g.row(key))
			case "none":
				assert.True(t, second.Passed)
			default:
				assert.Equal(t, 409, second.Client.Status)
				g.leaseEnds(key)
				assert.True(t, g.Do(t, payment(key), kongtest.Answers).Passed, "the key is stuck past its lease")
			}
		}
		output := g.server.Output()
		assert.Contains(t, output, "Listening on socket")
		assert.Equal(t, 1, strings.Count(output, "\n"), "the plugin's process talks without need: %s", output)
	}
}

func TestAServerThatIsKilledBetweenPhasesChangesNothing(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"access", "response", "log"} {
		g := begin(t, map[string]any{"unknown": "release"})
		kill := func(at string) {
			if at == phase {
				g.server.Kill()
				g.server.Restart()
			}
		}
		g.BeforePhase = kill
		first := g.Do(t, payment("answered"), kongtest.Answers)
		assert.Equal(t, "completed", g.row("answered"), phase)
		g.Do(t, payment("refused"), kongtest.Refuses)
		assert.Equal(t, "none", g.row("refused"), phase)
		again := g.Do(t, payment("answered"), kongtest.Answers)
		assert.False(t, again.Passed)
		assert.Equal(t, string(first.Client.Body), string(again.Client.Body))
	}
}

// Kong runs a phase again that the server's death has cut off, on the server that is started then.
func TestAServerThatIsKilledWithinAPhaseClaimsOnce(t *testing.T) {
	t.Parallel()
	const set, get = "kong.ctx.shared.set", "kong.ctx.shared.get"
	for _, c := range []struct {
		phase, method string
		nth           int
		says          string
	}{
		{"access", "kong.request.get_raw_body", 1, "before the token is drawn"},
		{"access", set, 1, "between the token and the store"},
		{"access", set, 2, "after the key was lent, before Kong knows"},
		{"response", get, 1, "before anything"},
		{"response", set, 1, "before the answer is known"},
		{"response", "kong.service.response.get_raw_body", 1, "before the answer is stored"},
	} {
		g := begin(t, nil)
		seen := atomic.Int32{}
		g.BeforeReply = func(phase, method string) {
			if phase == c.phase && method == c.method && seen.Add(1) == int32(c.nth) {
				g.server.Kill()
				g.server.Restart()
			}
		}
		first := g.Do(t, payment("k"), kongtest.Answers)
		assert.GreaterOrEqual(t, seen.Load(), int32(c.nth), c.says)
		assert.True(t, first.Passed, c.says)
		require.Equal(t, 201, first.Client.Status, c.says)
		assert.Equal(t, "completed", g.row("k"), c.says)
		assert.NotContains(t, strings.Join(g.Logged(), "\n"), "attempt 2", c.says)
		again := g.Do(t, payment("k"), kongtest.Answers)
		assert.Equal(t, string(first.Client.Body), string(again.Client.Body), c.says)
		assert.Equal(t, 1, g.Passed(), c.says)
	}
}

func TestOf200RequestsAtOnceInTwoWorkersTheServiceGetsOne(t *testing.T) {
	t.Parallel()
	g := begin(t, map[string]any{"wait_ms": 20_000})
	workers := []*kongtest.Kong{g.Kong, g.worker()}
	passed := atomic.Int32{}
	for _, worker := range workers {
		worker.Service = func(kongtest.Request) kongtest.Answer {
			return kongtest.Answer{Status: 201, Body: fmt.Appendf(nil, "payment %d", passed.Add(1))}
		}
	}
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			got := workers[i%2].Do(t, payment("k"), kongtest.Answers)
			assert.Equal(t, 201, got.Client.Status, "%s", got.Client.Body)
			assert.Equal(t, "payment 1", string(got.Client.Body))
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, passed.Load())
}

func TestADatabaseThatIsGoneIsARefusalInAccessAndNoMoreThanALeaseLater(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"access", "response", "log"} {
		wire := proxy(t)
		g := begin(t, map[string]any{"unknown": "release", "url": wire.url})
		g.pool = wire.pool
		g.BeforePhase = func(at string) {
			if at == phase {
				wire.cut()
			}
		}
		fate := kongtest.Answers
		if phase == "log" {
			fate = kongtest.Refuses
		}
		began := time.Now()
		got := g.Do(t, payment("k"), fate)
		assert.Less(t, time.Since(began), 20*time.Second)
		if phase == "access" {
			assert.False(t, got.Passed)
			assert.Equal(t, 503, got.Client.Status)
			assert.Equal(t, "none", g.row("k"))
		} else {
			assert.Equal(t, "pending, leased", g.row("k"), phase)
			if phase == "response" {
				assert.Equal(t, 201, got.Client.Status, "the service's answer")
			}
			g.leaseEnds("k")
		}
		g.BeforePhase = nil
		wire.mend()
		assert.True(t, g.Do(t, payment("k"), kongtest.Answers).Passed)
		assert.Equal(t, "completed", g.row("k"))
	}
}

func TestABodyInAFileIsReadByTheServer(t *testing.T) {
	t.Parallel()
	g := begin(t, nil)
	request := payment("k")
	request.Body, request.InFile = []byte(strings.Repeat("0123456789", 2000)), true
	first := g.Do(t, request, kongtest.Answers)
	require.True(t, first.Passed)
	request.InFile = false
	assert.Equal(t, string(first.Client.Body), string(g.Do(t, request, kongtest.Answers).Client.Body))
	request.Body = append(request.Body, '!')
	assert.Equal(t, 422, g.Do(t, request, kongtest.Answers).Client.Status)
}

func TestAChangedConfigurationIsHeeded(t *testing.T) {
	t.Parallel()
	g := begin(t, nil)
	g.Service = func(kongtest.Request) kongtest.Answer { return kongtest.Answer{Status: 500} }
	g.Do(t, payment("before"), kongtest.Answers)
	assert.Equal(t, "none", g.row("before"))
	g.config["keep_statuses"], g.config["__seq__"] = []int{500}, 1
	changed := g.server.Configure(g.config)
	g.Dial = changed.Dial
	g.Do(t, payment("after"), kongtest.Answers)
	assert.Equal(t, "completed", g.row("after"))
}
