package replays

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What is measured must be replays out of memory, and the same bytes: Cached itself says so. What came out is not looked at here.
func TestCachedMeasuresReplaysOutOfMemory(t *testing.T) {
	figures, err := Cached(t.Context(), 2, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if figures.Noop <= 0 || figures.Cached <= 0 || figures.Ratio <= 0 {
		t.Fatalf("nothing was measured: %+v", figures)
	}
}

func TestWhatIsNoReplayIsNotMeasured(t *testing.T) {
	bare, err := serve(http.HandlerFunc(noop))
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	l := load{at: bare.address, begins: "HTTP/1.1 201 ", has: "Idempotent-Replayed: true\r\n"}
	if _, err := l.run(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "not the one that was to be measured") {
		t.Fatalf("run = %v", err)
	}
}

// BenchmarkLoopback is the measure itself: go test -run - -bench Loopback -benchtime 15x ./replays
func BenchmarkLoopback(b *testing.B) {
	figures, err := Cached(b.Context(), b.N, time.Second)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(figures.Noop, "noop/s")
	b.ReportMetric(figures.Cached, "cached/s")
	b.ReportMetric(figures.Ratio, "ratio")
}

// BenchmarkInMemory is without the network: what is above the bare handler is all the replay's.
func BenchmarkInMemory(b *testing.B) {
	protected, _, err := protectedNoop()
	if err != nil {
		b.Fatal(err)
	}
	for name, handler := range map[string]http.Handler{"noop": http.HandlerFunc(noop), "cached": protected} {
		b.Run(name, func(b *testing.B) {
			body := strings.NewReader("")
			r := httptest.NewRequest(http.MethodPost, "/api/v1/payments", body)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Idempotency-Key", "8e03978e-40d5-43dd-bc93-100000000000")
			w := &discarding{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(string(payment))
				r.ContentLength = int64(len(payment))
				clear(w.header)
				handler.ServeHTTP(w, r)
			}
		})
	}
}

// discarding is a response that takes next to nothing.
type discarding struct{ header http.Header }

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarding) WriteHeader(int)             {}
