package httpidem_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/onlyonce/onlyonce/internal/budget"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

func parsing(value string) func() {
	values := []string{value}
	return func() { _, _ = httpidem.ParseKey(values) }
}

var keyCases = []budget.Case{
	{Name: "raw", Run: parsing("8e03978e-40d5-43dd-bc93-6894a57f9324")},
	{Name: "quoted", Run: parsing(`"8e03978e-40d5-43dd-bc93-6894a57f9324"`)},
	{Name: "quoted with escapes", Allocs: 3, Run: parsing(`"8e03978e \"40d5\" \\ bc93"`)},
	{Name: "with parameters", Run: parsing(`"8e03978e-40d5-43dd-bc93-6894a57f9324"; version=1;source="web"`)},
	{Name: "of 255 bytes", Run: parsing(strings.Repeat("k", 255))},
	{Name: "invalid", Run: parsing("8e03978e,40d5")},
	{Name: "huge and invalid", Run: parsing(strings.Repeat("k", 64<<10))},
}

func TestParsingAKeyStaysWithinItsAllocations(t *testing.T) { budget.Check(t, keyCases) }
func BenchmarkParseKey(b *testing.B)                        { budget.Benchmark(b, keyCases) }

var headers = []byte("Content-Type: application/json\r\nEtag: \"1\"\r\nLocation: /api/v1/payments/01a1fdc5-c09c-7afc-b7bf-5b972a3d591f\r\n")

func headerCases() []budget.Case {
	list := []string{"Content-Type", "Etag", "Link", "Location"}
	header := http.Header{
		"Content-Type": {"application/json"}, "Etag": {`"1"`}, "Location": {"/api/v1/payments/01a1fdc5-c09c-7afc-b7bf-5b972a3d591f"},
		"X-Request-Id": {"1"},
	}
	none := http.Header{}
	return []budget.Case{
		{Name: "encode", Allocs: 1, Run: func() { _ = httpidem.EncodeHeader(list, header, nil) }},
		{Name: "encode none", Run: func() { _ = httpidem.EncodeHeader(list, none, nil) }},
		{Name: "decode", Allocs: 1, Run: func() { _ = httpidem.DecodeHeader(headers, func(string, string) {}) }},
		{Name: "decode none", Run: func() { _ = httpidem.DecodeHeader(nil, func(string, string) {}) }},
	}
}

func TestHeadersStayWithinTheirAllocations(t *testing.T) { budget.Check(t, headerCases()) }
func BenchmarkHeader(b *testing.B)                       { budget.Benchmark(b, headerCases()) }

// quiet is a response that takes nothing.
type quiet struct{ header http.Header }

func (q *quiet) Header() http.Header         { return q.header }
func (q *quiet) Write(b []byte) (int, error) { return len(b), nil }
func (q *quiet) WriteHeader(int)             {}

func recorderCases() []budget.Case {
	list := []string{"Content-Type", "Location"}
	records := func(body string, outer http.Header) func() {
		w := &quiet{header: http.Header{}}
		return func() {
			clear(w.header)
			for name, values := range outer {
				w.header[name] = values
			}
			r := httpidem.NewRecorder(w, 1<<20)
			r.Header()["Content-Type"] = []string{"application/json"}
			r.WriteHeader(http.StatusCreated)
			_, _ = r.WriteString(body)
			_, _ = r.Response(list)
			r.Send()
		}
	}
	return []budget.Case{
		{Name: "no body", Allocs: 6, Run: records("", nil)},
		{Name: "a small body", Allocs: 6, Run: records(`{"id":"pay_1"}`, nil)},
		{Name: "64 KiB", Allocs: 6, Run: records(strings.Repeat("x", 64<<10), nil)},
		{Name: "behind other middleware", Allocs: 10, Run: records(`{"id":"pay_1"}`, http.Header{"X-Request-Id": {"1"}})},
	}
}

func TestRecordingStaysWithinItsAllocations(t *testing.T) { budget.Check(t, recorderCases()) }
func BenchmarkRecorder(b *testing.B)                      { budget.Benchmark(b, recorderCases()) }
