package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// said makes events of lines such as "fail TestA/part".
func said(lines ...string) string {
	var events strings.Builder
	for _, line := range lines {
		action, test, _ := strings.Cut(line, " ")
		test, output, _ := strings.Cut(test, ": ")
		events.WriteString(`{"Action":"` + action + `","Test":"` + test + `","Output":"` + output + `"}` + "\n")
	}
	return events.String()
}

func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		events string
		exit   error
		want   results
	}{
		{"passed", said("run TestA", "pass TestA", "run TestB", "pass TestB", "pass"), nil, results{passed: 2}},
		{"a test with parts counts by its parts",
			said("run TestA", "run TestA/one", "run TestA/one/deep", "pass TestA/one/deep", "pass TestA/one", "run TestA/two", "pass TestA/two", "pass TestA", "pass"),
			nil, results{passed: 2}},
		{"a part that failed is named, and not its whole",
			said("run TestA", "run TestA/one", "fail TestA/one", "run TestA/two", "pass TestA/two", "fail TestA", "fail"), errors.New("exit 1"),
			results{passed: 1, failed: 1, names: []string{"pgstore TestA/one"}}},
		{"a whole that failed without any of its parts is named",
			said("run TestA", "run TestA/one", "pass TestA/one", "fail TestA", "fail"), errors.New("exit 1"),
			results{passed: 1, failed: 1, names: []string{"pgstore TestA"}}},
		{"skipped, with the reason", said("run TestA", "output TestA: === RUN TestA", "output TestA: a_test.go:5: needs the moon", "output TestA: --- SKIP: TestA", "skip TestA", "pass"),
			nil, results{skipped: 1, reasons: []string{"pgstore: needs the moon"}}},
		{"what did not end has failed", said("run TestA", "run TestB", "pass TestB"), errors.New("killed"),
			results{passed: 1, failed: 1, names: []string{"pgstore TestA"}}},
		{"a binary may fail by itself", said("run TestA", "pass TestA", "fail"), errors.New("exit 1"),
			results{passed: 1, failed: 1, names: []string{"pgstore: the test binary itself (exit 1)"}}},
		{"a binary that says all is well and fails has failed", said("run TestA", "pass TestA", "pass"), errors.New("exit 1"),
			results{passed: 1, failed: 1, names: []string{"pgstore: the test binary itself (exit 1)"}}},
		{"nothing is not a success", said("pass"), nil, results{failed: 1, names: []string{"pgstore: no test was selected"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newReading()
			require.NoError(t, r.read(strings.NewReader(test.events), &bytes.Buffer{}))
			assert.Equal(t, test.want, r.count(pgstore, test.exit))
		})
	}
}

func TestWhatTestsSayIsKept(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := newReading()
	require.NoError(t, r.read(strings.NewReader(said("run TestA", "output TestA: hello ")+"not an event\n"), &log))
	assert.Equal(t, "hello not an event\n", log.String())
	assert.Zero(t, r.through())
}

func TestTheGridNamesWhatFailedAndWhatWasSkipped(t *testing.T) {
	t.Parallel()
	shown := []column{{name: "exec"}, {name: "faults"}}
	rows := []row{
		{version: "14.1", cells: map[string]cell{"exec": {results: results{passed: 12}}, "faults": {results: results{passed: 100, skipped: 2, reasons: []string{"stack: no moon"}}}}},
		{version: "18.0", cells: map[string]cell{"exec": {results: results{passed: 11, failed: 1, names: []string{"pgstore TestA"}}, logs: []string{"/tmp/a.log"}}}},
	}
	var out bytes.Buffer
	assert.Equal(t, 1, printTroubles(&out, shown, rows))
	printGrid(&out, shown, rows)
	assert.Equal(t, `skipped  14.1  faults  stack: no moon
FAILED   18.0  exec  pgstore TestA
         what it said: /tmp/a.log
PostgreSQL  exec    faults   all
14.1        12/0/0  100/0/2  112/0/2
18.0        11/1/0  -        11/1/0
tests passed/failed/skipped; -: not run
`, out.String())
}
