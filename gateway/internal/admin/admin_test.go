package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/internal/admin"
)

func ask(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestAProgramLivesAlsoWhereItIsNotReady(t *testing.T) {
	t.Parallel()
	var told []error
	looks := 0
	away := func(context.Context) error { looks++; return errors.New("db.internal is away") }
	h := admin.Handler(away, prometheus.NewRegistry(), func(err error) { told = append(told, err) })
	assert.Equal(t, http.StatusOK, ask(h, admin.Live).Code)
	for range 3 {
		w := ask(h, admin.Ready)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.NotContains(t, w.Body.String(), "db.internal")
	}
	assert.Equal(t, 1, looks)
	require.Eventually(t, func() bool { ask(h, admin.Ready); return looks == 2 }, 10*time.Second, 10*time.Millisecond)
	assert.Len(t, told, 1, "it is told when it changes")
	assert.Equal(t, http.StatusNotFound, ask(h, "/").Code)
}

func TestManyThatAskWhetherItIsReadyCostOneLook(t *testing.T) {
	t.Parallel()
	var looks atomic.Int32
	h := admin.Handler(func(ctx context.Context) error {
		looks.Add(1)
		_, bounded := ctx.Deadline()
		assert.True(t, bounded)
		return ctx.Err()
	}, prometheus.NewRegistry(), nil)
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, admin.Ready, nil).WithContext(gone))
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() { assert.Equal(t, http.StatusOK, ask(h, admin.Ready).Code) })
	}
	group.Wait()
	assert.LessOrEqual(t, looks.Load(), int32(2))
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "a_gauge"}))
	assert.Contains(t, ask(admin.Handler(nil, registry, nil), admin.Metrics).Body.String(), "a_gauge 0")
}
