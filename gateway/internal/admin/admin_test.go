package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"

	"github.com/onlyonce/onlyonce/gateway/internal/admin"
)

func ask(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestAProgramLivesAlsoWhereItIsNotReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []error
		looks, away := 0, errors.New("db.internal is away")
		store := away
		h := admin.Handler(func(context.Context) error { looks++; return store }, prometheus.NewRegistry(), func(err error) { told = append(told, err) })
		assert.Equal(t, http.StatusOK, ask(h, admin.Live).Code)
		assert.Zero(t, looks)
		for look := range 3 {
			for range 3 {
				w := ask(h, admin.Ready)
				assert.Equal(t, http.StatusServiceUnavailable, w.Code)
				assert.NotContains(t, w.Body.String(), "db.internal")
			}
			assert.Equal(t, look+1, looks)
			time.Sleep(time.Second)
		}
		store = nil
		assert.Equal(t, http.StatusOK, ask(h, admin.Ready).Code)
		assert.Equal(t, []error{away, nil}, told, "it is told when it changes")
		assert.Equal(t, http.StatusNotFound, ask(h, "/").Code)
	})
}

func TestManyThatAskWhetherItIsReadyCostOneLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int32
		h := admin.Handler(func(ctx context.Context) error {
			looks.Add(1)
			runtime.Gosched() // to who asks meanwhile
			_, bounded := ctx.Deadline()
			assert.True(t, bounded)
			return ctx.Err()
		}, prometheus.NewRegistry(), nil)
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, admin.Ready, nil).WithContext(gone))
		for _, want := range []int32{1, 2} {
			var group sync.WaitGroup
			for range 50 {
				group.Go(func() { assert.Equal(t, http.StatusOK, ask(h, admin.Ready).Code) })
			}
			group.Wait()
			assert.Equal(t, want, looks.Load())
			time.Sleep(time.Second)
		}
	})
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "a_gauge"}))
	assert.Contains(t, ask(admin.Handler(nil, registry, nil), admin.Metrics).Body.String(), "a_gauge 0")
}
