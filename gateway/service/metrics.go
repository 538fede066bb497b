package service

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count by operation and by what came of it: an outcome, or a problem's code. Both are of small sets; no key and no scope is in them.
type metrics struct {
	operations *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	inFlight   prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onlyonce_operations_total",
			Help: "Requests by operation (lock, claim, read, lookup, complete, release, extend, or none) and outcome (claimed, taken_over, completed, stored, " +
				"repeated, released, extended, or a problem's code).",
		}, []string{"operation", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onlyonce_operation_seconds", Help: "How long requests took, by operation.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "onlyonce_operations_in_flight", Help: "Requests that are being answered."}),
	}
	if registerer == nil {
		return m, nil
	}
	return m, errors.Join(registerer.Register(m.operations), registerer.Register(m.seconds), registerer.Register(m.inFlight))
}

func (m *metrics) end(operation, outcome string, began time.Time) {
	if operation == "" {
		operation = "none"
	}
	m.operations.WithLabelValues(operation, outcome).Inc()
	m.seconds.WithLabelValues(operation).Observe(time.Since(began).Seconds())
}
