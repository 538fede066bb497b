package proxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics have routes, outcomes and statuses as labels, and nothing that a client has sent.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	reloads  *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onlyonce_proxy_requests_total",
			Help: "Requests by route, what became of the key, what became of the request to the upstream, and status.",
		}, []string{"route", "outcome", "upstream", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "onlyonce_proxy_request_seconds", Help: "Time from a request's header to the end of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "onlyonce_proxy_in_flight", Help: "Requests that are being answered."}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "onlyonce_proxy_reloads_total", Help: "Reloads of the configuration, done or failed.",
		}, []string{"result"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.inFlight, m.reloads, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) done(t *trip, took time.Duration) {
	m.requests.WithLabelValues(t.route, t.outcome, t.fate, strconv.Itoa(t.status)).Inc()
	m.seconds.WithLabelValues(t.route).Observe(took.Seconds())
}
