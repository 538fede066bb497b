package report_test

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onlyonce/onlyonce/bench/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// order is that of the parts.
var order = []string{"kills", "fresh", "wal"}

func results() report.Results {
	run := report.Run{Date: "2026-01-02", Command: "make bench", PostgreSQL: "PostgreSQL 15.1, fsync on", Redis: "7.0.1", Go: "go1.26.0",
		CPU: "2 CPUs", Rounds: 7, Length: "1s", Seed: 7, Versions: []string{"jackc/pgx/v5 v5.12.0"}}
	return report.Results{
		"fresh": {
			Name: "fresh", Run: run,
			Tables: []report.Table{{Title: "Fresh keys, loopback", Head: []string{"contender", "÷ plain"}, Safety: true,
				Rows: [][]string{{"plain", "1.00"}, {"onlyonce", "0.93"}, {"by-hand", "0.95"}}}},
			Notes: []string{"Measured at loopback: `SELECT 1` 0.10 ms."},
			Goals: []report.Goal{{Says: "fresh ÷ plain", Wanted: "≥ 0.92", Measured: "0.93", Reached: true}},
			Charts: []report.Chart{{File: "fresh.svg", Title: "Fresh keys: throughput ÷ plain pgx", Panels: []report.Panel{{
				Title: "loopback", Groups: []string{"1 conn.", "8 conn."},
				Series: []report.Series{{Name: "plain", Values: []float64{1, 1}}, {Name: "onlyonce", Values: []float64{0.93, -1}}, {Name: "a <b> & c", Values: []float64{2}}},
			}}}},
		},
		"kills": {
			Name: "kills", Run: run,
			Tables: []report.Table{{Head: []string{"contender", "paid twice"}, Rows: [][]string{{"plain", "9"}, {"onlyonce", "0"}}}},
			Goals:  []report.Goal{{Says: "duplicates", Wanted: "0", Measured: "1", Reached: false}},
			Safety: map[string]string{"plain": "9 paid twice, 0 stuck", "onlyonce": "0 paid twice, 0 stuck"},
		},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s is another now (go test ./report -update writes it):\n%s", file, got)
	}
}

func TestATerminalShowsAllPartsAndTheGoals(t *testing.T) {
	var out bytes.Buffer
	results().Print(&out, order)
	golden(t, "terminal.txt", out.Bytes())
}

const page = `# Performance
Prose before.
<!-- bench:goals --><!-- /bench:goals -->
<!-- bench:kills -->
old kills
<!-- /bench:kills -->
Prose between.
<!-- bench:fresh --><!-- /bench:fresh -->
<!-- bench:wal -->
old log
<!-- /bench:wal -->
Prose after.
`

func TestThePageIsRewrittenBetweenItsMarks(t *testing.T) {
	docs := withPage(t, page)
	if err := report.Write(docs, results(), order); err != nil {
		t.Fatal(err)
	}
	golden(t, "performance.md", read(t, docs, "performance.md"))
	golden(t, "fresh.svg", read(t, docs, "performance/fresh.svg"))
}

func TestWritingTheSameAgainChangesNothing(t *testing.T) {
	docs := withPage(t, page)
	var pages [2]string
	for i := range pages {
		if err := report.Write(docs, results(), order); err != nil {
			t.Fatal(err)
		}
		pages[i] = string(read(t, docs, "performance.md"))
	}
	if pages[0] != pages[1] {
		t.Error(pages[1])
	}
}

func TestAPartialRunKeepsTheOthersAndJoinsTheirSafety(t *testing.T) {
	docs := withPage(t, page)
	if err := report.Write(docs, report.Results{"fresh": results()["fresh"]}, order); err != nil {
		t.Fatal(err)
	}
	first := string(read(t, docs, "performance.md"))
	for _, expected := range []string{"old kills", "old log", "| onlyonce | 0.93 |\n", "Prose between."} {
		if !strings.Contains(first, expected) {
			t.Errorf("%q is gone:\n%s", expected, first)
		}
	}
	if err := report.Write(docs, report.Results{"kills": results()["kills"]}, order); err != nil {
		t.Fatal(err)
	}
	second := string(read(t, docs, "performance.md"))
	for _, expected := range []string{"old log", "| onlyonce | 0.93 | 0 paid twice, 0 stuck |\n", "| fresh ÷ plain | ≥ 0.92 | 0.93 | reached |", "| duplicates | 0 | 1 | **not reached** |"} {
		if !strings.Contains(second, expected) {
			t.Errorf("%q is not there:\n%s", expected, second)
		}
	}
}

func TestAPageWithoutItsMarksIsLeftAlone(t *testing.T) {
	docs := withPage(t, "# Nothing here\n")
	if err := report.Write(docs, results(), order); err == nil || !strings.Contains(err.Error(), "<!-- bench:kills -->") {
		t.Fatal(err)
	}
	if got := string(read(t, docs, "performance.md")); got != "# Nothing here\n" {
		t.Error(got)
	}
}

func TestAChartIsWellFormed(t *testing.T) {
	decoder := xml.NewDecoder(strings.NewReader(results()["fresh"].Charts[0].SVG()))
	rects := 0
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, is := token.(xml.StartElement); is && start.Name.Local == "rect" {
			rects++
		}
	}
	if rects != 4 {
		t.Errorf("%d bars of 4 values that were measured", rects)
	}
}

func withPage(t *testing.T, content string) string {
	t.Helper()
	docs := t.TempDir()
	if err := os.WriteFile(filepath.Join(docs, "performance.md"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return docs
}

func read(t *testing.T, docs, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(docs, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
