package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// world is Kong with the plugin in this process, a service, and a store in memory whose clock the test moves.
type world struct {
	*kongtest.Kong
	t      *testing.T
	config *plugin.Config
	store  *faulty
	moved  atomic.Int64 // the clock, in nanoseconds
}

// faulty is a Leaser that can be out of reach, or worse.
type faulty struct {
	idempotency.Leaser
	down  atomic.Bool
	panic atomic.Bool
	// panicsLate is a panic of Acquire's when the key was lent.
	panicsLate atomic.Bool
	frees      atomic.Int32
	// lost has the reply to an Acquire lost.
	lost atomic.Bool
	// inProgress, where it is set, is called when a key is found to be in progress.
	inProgress func()
	// settling, where it is set, is called after each attempt at storing an answer.
	settling func()
}

func (f *faulty) refuse() error {
	if f.panic.Load() {
		panic("the store has a defect")
	}
	if f.down.Load() {
		return idempotency.ErrStoreUnavailable
	}
	return nil
}

func (f *faulty) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	if err := f.refuse(); err != nil {
		return nil, nil, err
	}
	lease, record, err := f.Leaser.Acquire(ctx, key, terms)
	if f.inProgress != nil && errors.Is(err, idempotency.ErrInProgress) {
		f.inProgress()
	}
	if f.panicsLate.Load() {
		panic("the store has a defect behind its commit")
	}
	if f.lost.Load() {
		return nil, nil, idempotency.ErrOutcomeUnknown
	}
	return lease, record, err
}

func (f *faulty) Settle(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration) (bool, error) {
	if f.settling != nil {
		defer f.settling()
	}
	if err := f.refuse(); err != nil {
		return false, err
	}
	return f.Leaser.Settle(ctx, key, owner, record, retention)
}

func (f *faulty) Free(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken) error {
	f.frees.Add(1)
	if err := f.refuse(); err != nil {
		return err
	}
	return f.Leaser.Free(ctx, key, owner)
}

func (f *faulty) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	if err := f.refuse(); err != nil {
		return nil, err
	}
	return f.Leaser.Lookup(ctx, key)
}

// begin makes a world with a service that answers 201. The configuration's url is set.
func begin(t *testing.T, config *plugin.Config) *world {
	t.Helper()
	w := &world{t: t, config: config}
	memory, err := memstore.New(memstore.Config{Now: func() time.Time { return time.Now().Add(time.Duration(w.moved.Load())) }})
	require.NoError(t, err)
	w.store = &faulty{Leaser: memory}
	config.URL = plugin.Lenders(t, w.store)
	w.Kong = &kongtest.Kong{Dial: kongtest.Inside(config)}
	w.Service = func(kongtest.Request) kongtest.Answer { return created(w.Passed()) }
	return w
}

// created is the service's n-th answer.
func created(n int) kongtest.Answer {
	return kongtest.Answer{
		Status: 201,
		Header: map[string][]string{
			"content-type": {"application/json"}, "location": {fmt.Sprintf("/payments/%d", n)}, "set-cookie": {"session=1"}, "date": {"today"},
		},
		Body: fmt.Appendf(nil, `{"id": %d}`, n),
	}
}

// answering has the service answer by this status.
func (w *world) answering(status int) {
	w.Service = func(kongtest.Request) kongtest.Answer {
		return kongtest.Answer{Status: status, Body: fmt.Appendf(nil, "%d for request %d", status, w.Passed())}
	}
}

// payment is a request with the key k1, of the consumer acme.
func payment() kongtest.Request {
	return kongtest.Request{
		Method: "POST", Target: "/v1/payments?currency=eur", Body: []byte(`{"amount": 100}`), Consumer: "acme", Username: "Acme Ltd.", Credential: "cred-1",
		Header: map[string][]string{"idempotency-key": {"k1"}, "content-type": {"application/json; charset=utf-8"}, "host": {"api.example.com"}},
	}
}

func withKey(key string) kongtest.Request {
	request := payment()
	request.Header["idempotency-key"] = []string{key}
	return request
}

var k1 = idempotency.Key{Scope: "consumer:acme", Value: "k1"}

// The states of a key, as an owner to come finds it.
const (
	free      = "free"
	pending   = "pending"
	left      = "left without an outcome"
	completed = "completed"
)

func (w *world) state(key idempotency.Key) string {
	w.t.Helper()
	return stateOf(w.t, w.store.Leaser, key)
}

// stateOf asks for the key, and gives it back.
func stateOf(t *testing.T, leaser idempotency.Leaser, key idempotency.Key) string {
	t.Helper()
	terms := idempotency.Terms{Owner: idempotency.NewOwnerToken(), Lease: time.Minute}
	lease, record, err := leaser.Acquire(context.Background(), key, terms)
	switch {
	case record != nil:
		return completed
	case lease != nil:
		require.NoError(t, leaser.Free(context.Background(), key, terms.Owner))
		if lease.Attempt > 1 {
			return left
		}
		return free
	}
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	return pending
}

func (w *world) leaseEnds() { w.moved.Add(int64(plugin.DefaultLease) + int64(time.Second)) }

// do sends a request that the service answers, if it gets it.
func (w *world) do(request kongtest.Request) kongtest.Result {
	w.t.Helper()
	return w.Do(w.t, request, kongtest.Answers)
}

// wantProblem checks that the client got this problem, and the service nothing.
func wantProblem(t *testing.T, got kongtest.Result, status int, code string) {
	t.Helper()
	require.NotNil(t, got.Client)
	assert.False(t, got.Passed, "the service had the request")
	assert.Equal(t, status, got.Client.Status, "%s", got.Client.Body)
	assert.Equal(t, []string{"application/problem+json"}, got.Client.Header["content-type"])
	assert.Contains(t, string(got.Client.Body), `"code":"`+code+`"`)
}

// wantReplay checks that the client got a stored response again.
func wantReplay(t *testing.T, got kongtest.Result, first *kongtest.Answer) {
	t.Helper()
	require.NotNil(t, got.Client)
	assert.False(t, got.Passed, "the service had the request")
	assert.Equal(t, first.Status, got.Client.Status, "%s", got.Client.Body)
	assert.Equal(t, string(first.Body), string(got.Client.Body))
	assert.Equal(t, []string{"true"}, got.Client.Header["idempotent-replayed"])
}
