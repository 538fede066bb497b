package stack

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/pgstore"
)

// version is the steps of a handler, in their order; behind them it answers 201.
type version []func(ctx context.Context) error

// step is an atomic phase that leaves a row behind, so that running it twice shows.
func step[T any](name string, result T) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := idempotency.Atomic(ctx, name, func(ctx context.Context) (T, error) {
			return result, note(ctx, name)
		})
		return err
	}
}

// foreign is a foreign call that can be run again. It has no transaction to leave a row by.
func foreign(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := idempotency.Foreign(ctx, name, func(_ context.Context, key string) (string, error) { return key, nil })
		return err
	}
}

// note leaves a row behind.
func note(ctx context.Context, name string) error {
	_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO done (step) VALUES ($1)`, name)
	return err
}

// The results of steps in two versions of the code.
type (
	ordered      struct{ ID string }
	orderedLater struct {
		ID   string
		Note string
	}
	renumbered struct{ ID int64 }
)

var (
	stepOne   = step("one", ordered{"o-1"})
	stepTwo   = step("two", ordered{"o-2"})
	stepThree = step("three", ordered{"o-3"})
	deployed  = version{stepOne, stepTwo, stepThree} // at first
)

// Version 1 is stopped behind its second step, version 2 is deployed, and then version 1 again.
func TestADeployBetweenTwoStepsResumesOrSaysThatTheStepsChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after   version
		resumes bool
		steps   []string // that are done in the end, where it resumes
		why     string   // it does not
	}{
		"nothing changed":                            {deployed, true, []string{"one", "two", "three", "tail"}, ""},
		"a step to come is renamed":                  {version{stepOne, stepTwo, step("drei", ordered{})}, true, []string{"one", "two", "drei", "tail"}, ""},
		"a step to come is removed":                  {version{stepOne, stepTwo}, true, []string{"one", "two", "tail"}, ""},
		"a step to come is a foreign call now":       {version{stepOne, stepTwo, foreign("three")}, true, []string{"one", "two", "tail"}, ""},
		"a step is added at the end":                 {version{stepOne, stepTwo, stepThree, step("four", ordered{})}, true, []string{"one", "two", "three", "four", "tail"}, ""},
		"a step is added behind the last that ran":   {version{stepOne, stepTwo, step("between", ordered{}), stepThree}, true, []string{"one", "two", "between", "three", "tail"}, ""},
		"a result has a field more":                  {version{step("one", orderedLater{}), stepTwo, stepThree}, true, []string{"one", "two", "three", "tail"}, ""},
		"a step that ran is renamed":                 {version{stepOne, step("zwei", ordered{}), stepThree}, false, nil, "in its place"},
		"a step is added before":                     {version{step("zero", ordered{}), stepOne, stepTwo, stepThree}, false, nil, "in its place"},
		"a step is added between two that ran":       {version{stepOne, step("between", ordered{}), stepTwo, stepThree}, false, nil, "in its place"},
		"the last step that ran is removed":          {version{stepOne, stepThree}, false, nil, "in its place"},
		"the first step is removed":                  {version{stepTwo, stepThree}, false, nil, "in its place"},
		"all steps from the last that ran are gone":  {version{stepOne}, false, nil, "without naming it"},
		"all steps are removed":                      {version{}, false, nil, "without naming it"},
		"the steps that ran are in another order":    {version{stepTwo, stepOne, stepThree}, false, nil, "in its place"},
		"a step that ran is a foreign call now":      {version{stepOne, foreign("two"), stepThree}, false, nil, "in its place"},
		"the result of a step has another type":      {version{step("one", renumbered{}), stepTwo, stepThree}, false, nil, "does not fit"},
		"the result of the last step is not the one": {version{stepOne, step("two", []string{}), stepThree}, false, nil, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, err := w.pool.Exec(deadline(t), `CREATE TABLE done (id bigint GENERATED ALWAYS AS IDENTITY, step text NOT NULL)`)
			require.NoError(t, err)
			key := payFor("alice", "deploy")
			first := w.deploy(t, append(deployed[:2:2], func(context.Context) error { return errors.New("version 1 is stopped here") }))
			assert.Equal(t, http.StatusInternalServerError, first.send(key).status)
			require.Equal(t, []string{"one", "two"}, w.done(t))
			kept := w.row(t)

			second := w.deploy(t, c.after)
			got := second.send(key)

			if c.resumes {
				assert.Equal(t, http.StatusCreated, got.status, got.body)
				assert.Equal(t, c.steps, w.done(t))
				assert.Len(t, second.events.of(idempotency.Resumed), 1)
			} else {
				assert.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
				assert.Equal(t, "steps-changed", got.code())
				assert.Equal(t, kept, w.row(t), "the row was touched")
				assert.Equal(t, []string{"one", "two"}, w.done(t))
				failed := second.events.of(idempotency.Failed)
				require.Len(t, failed, 1)
				assert.Equal(t, http.StatusServiceUnavailable, failed[0].Status)
				assert.Contains(t, failed[0].Err, c.why)
				assert.Equal(t, "steps-changed", second.send(key).code(), "as often as it is asked")
				assert.Equal(t, kept, w.row(t))
			}

			finished := w.deploy(t, deployed).send(key)
			assert.Equal(t, http.StatusCreated, finished.status, finished.body)
			assert.Equal(t, c.resumes, finished.replayed)
			if !c.resumes {
				assert.Equal(t, []string{"one", "two", "three", "tail"}, w.done(t))
			} else {
				wantSame(t, got, finished)
			}
			for _, s := range []*server{first, second} {
				wantSame(t, finished, s.send(key))
			}
		})
	}
}

// The completer of the wrong version tries, counts its attempts, and leaves what is stored for the right one.
func TestTheCompleterOfAnotherVersionLeavesAKeyToTheRightOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.pool.Exec(deadline(t), `CREATE TABLE done (id bigint GENERATED ALWAYS AS IDENTITY, step text NOT NULL)`)
	require.NoError(t, err)
	key := payFor("alice", "deploy")
	require.Equal(t, 500, w.deploy(t, version{stepOne, stepTwo, func(context.Context) error { return errors.New("stopped") }}).send(key).status)

	wrong := w.complete(t, version{stepTwo, stepOne})
	assert.Equal(t, idempotency.Pass{Found: 1, Pending: 1}, wrong)
	assert.Equal(t, []string{"one", "two"}, w.done(t))
	w.leaseIsOver(t)
	right := w.complete(t, deployed)
	assert.Equal(t, idempotency.Pass{Found: 1, Completed: 1}, right)
	assert.Equal(t, []string{"one", "two", "three", "tail"}, w.done(t))
	again := w.deploy(t, version{}).send(key)
	assert.Equal(t, http.StatusCreated, again.status, "what is completed is replayed by any version")
	assert.True(t, again.replayed)
}

// routed is a version behind the middleware, on its own pool.
func (w *world) routed(t *testing.T, v version, observer idempotency.Observer) (*idempotency.Engine, http.Handler) {
	t.Helper()
	pool, err := settings{URL: w.url}.pool(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { closeAll(t, pool) })
	engine, err := settings{URL: w.url}.engine(pool, observer)
	require.NoError(t, err)
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: accountOf})
	require.NoError(t, err)
	return engine, protect(v)
}

func closeAll(t *testing.T, pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	await(t, "the connections come back", closed)
}

func (v version) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, step := range v {
		if err := step(r.Context()); err != nil {
			nethttp.WriteProblem(w, err)
			return
		}
	}
	if err := note(r.Context(), "tail"); err != nil {
		nethttp.WriteProblem(w, err)
		return
	}
	answer(w, http.StatusCreated, unlike())
}

// deploy serves a version.
func (w *world) deploy(t *testing.T, v version) *server {
	t.Helper()
	s := &server{events: newEvents()}
	_, handler := w.routed(t, v, s.events.observe)
	listening := httptest.NewServer(handler)
	t.Cleanup(listening.Close)
	s.url = listening.URL
	return s
}

// complete makes one pass of a version's completer.
func (w *world) complete(t *testing.T, v version) idempotency.Pass {
	t.Helper()
	engine, handler := w.routed(t, v, newEvents().observe)
	completer, err := idempotency.NewCompleter(engine, nethttp.Resume(handler, nethttp.ResumeConfig{}), idempotency.CompleterConfig{})
	require.NoError(t, err)
	pass, err := completer.Pass(deadline(t))
	require.NoError(t, err)
	return pass
}

// done lists the steps that left a row, in their order.
func (w *world) done(t *testing.T) (steps []string) {
	t.Helper()
	require.NoError(t, w.pool.QueryRow(deadline(t), `SELECT coalesce(array_agg(step ORDER BY id), '{}') FROM done`).Scan(&steps))
	return steps
}

// row is the key's, byte for byte, and which version of it that is.
func (w *world) row(t *testing.T) (row string) {
	t.Helper()
	require.NoError(t, w.pool.QueryRow(deadline(t), `SELECT k.xmin::text || ' ' || k.ctid::text || ' ' || k::text FROM idempotency_keys k`).Scan(&row))
	return row
}

// leaseIsOver moves the lease, and the pause after a failure, into the past.
func (w *world) leaseIsOver(t *testing.T) {
	t.Helper()
	_, err := w.pool.Exec(deadline(t), `UPDATE idempotency_keys SET leased_until = leased_until - interval '1 hour'`)
	require.NoError(t, err)
}
