package httpidem_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
	"github.com/onlyonce/onlyonce/memstore"
)

// listed is a store in which one key is pending.
type listed struct {
	*memstore.Store
	pending idempotency.Pending
}

func (s listed) Pending(context.Context, idempotency.Due) (idempotency.PendingKeys, error) {
	return idempotency.PendingKeys{Keys: []idempotency.Pending{s.pending}}, nil
}

// resumed has the completer make the request that is stored, and returns what Resume returned.
func resumed(t *testing.T, stored []byte, handler http.HandlerFunc, authenticate httpidem.Authenticate) (err error) {
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	pending := idempotency.Pending{Key: idempotency.Key{Scope: "alice", Value: "k"}, Progress: idempotency.Progress{Request: stored}}
	engine, err := idempotency.New(listed{store, pending}, idempotency.Config{})
	require.NoError(t, err)
	resume := httpidem.Resume(handler, authenticate)
	completer, err := idempotency.NewCompleter(engine, func(ctx context.Context, pending idempotency.Pending) error {
		err = resume(ctx, pending)
		return err
	}, idempotency.CompleterConfig{})
	require.NoError(t, err)
	_, passed := completer.Pass(t.Context())
	require.NoError(t, passed)
	return err
}

func TestWhatTheHandlerAnsweredIsWhatResumeReturns(t *testing.T) {
	t.Parallel()
	stored := describe(t, httptest.NewRequest(http.MethodPost, "/payments", nil), "{}")
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		err     string
	}{
		{"nothing", func(http.ResponseWriter, *http.Request) {}, ""},
		{"a body", func(w http.ResponseWriter, _ *http.Request) {
			n, err := w.Write([]byte("paid"))
			require.NoError(t, err)
			require.Equal(t, 4, n)
		}, ""},
		{"a redirect", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) }, ""},
		{"a refusal", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPaymentRequired) }, "the handler answered 402"},
		{"a failure", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusServiceUnavailable) }, "the handler answered 503"},
		{"early hints and a failure", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusBadGateway)
		}, "the handler answered 502"},
		{"a success and a failure after it", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("paid"))
			w.WriteHeader(http.StatusBadGateway)
		}, ""},
		{"what a connection takes", func(w http.ResponseWriter, _ *http.Request) {
			controller := http.NewResponseController(w)
			require.NoError(t, controller.SetReadDeadline(time.Now()))
			require.NoError(t, controller.SetWriteDeadline(time.Now()))
			require.NoError(t, controller.Flush())
			w.WriteHeader(http.StatusBadGateway)
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := resumed(t, stored, tt.handler, nil); tt.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tt.err)
			}
		})
	}
}

func TestWithoutARequestThatIsTheCompletersTheHandlerDoesNotRun(t *testing.T) {
	t.Parallel()
	stored := describe(t, httptest.NewRequest(http.MethodPost, "/payments", nil), "{}")
	broken := errors.New("no such account")
	for _, tt := range []struct {
		name         string
		stored       []byte
		authenticate httpidem.Authenticate
		err          string
	}{
		{"none is stored", nil, nil, "no request is stored"},
		{"a damaged one is stored", stored[:len(stored)-1], nil, "damaged"},
		{"authentication fails", stored, func(*http.Request, string) (*http.Request, error) { return nil, broken }, "no such account"},
		{"authentication returns none", stored, func(*http.Request, string) (*http.Request, error) { return nil, nil }, "the completer's context"},
		{"authentication returns another one", stored, func(r *http.Request, _ string) (*http.Request, error) {
			return r.WithContext(context.Background()), nil
		}, "the completer's context"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := resumed(t, tt.stored, func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") }, tt.authenticate)
			require.ErrorContains(t, err, tt.err)
		})
	}
	// Whoever calls Resume by hand is not the completer: a route whose key is optional would run the request anew.
	resume := httpidem.Resume(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") }), nil)
	require.ErrorContains(t, resume(t.Context(), idempotency.Pending{Progress: idempotency.Progress{Request: stored}}), "the completer's context")
}

func TestAuthenticationIsToldTheScope(t *testing.T) {
	t.Parallel()
	type identityKey struct{}
	stored := describe(t, httptest.NewRequest(http.MethodPost, "/payments", nil), "{}")
	ran := false
	require.NoError(t, resumed(t, stored, func(_ http.ResponseWriter, r *http.Request) {
		ran = true
		require.Equal(t, "alice", r.Context().Value(identityKey{}))
	}, func(r *http.Request, scope string) (*http.Request, error) {
		return r.WithContext(context.WithValue(r.Context(), identityKey{}, scope)), nil
	}))
	require.True(t, ran)
}

func TestResumeNeedsAHandler(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { httpidem.Resume(nil, nil) })
}
