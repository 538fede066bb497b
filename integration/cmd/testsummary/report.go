package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// event is a line of go test -json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // where a build, not a test, speaks
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

type test struct {
	pkg, name string
}

type skip struct {
	test   test
	reason string
}

// report counts results. Output is kept until it is known whether anybody wants to read it.
type report struct {
	out    io.Writer
	output map[test]*strings.Builder
	passed int
	failed []test
	skips  []skip
	// A package can fail with no test to blame: it does not build, or panics, or its TestMain fails.
	brokenPackages []string
	failedTests    map[string]int
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[test]*strings.Builder{}, failedTests: map[string]int{}}
}

func (r *report) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				// Not an event: what a test binary printed past the testing package.
				fmt.Fprint(r.out, string(line))
			} else {
				r.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	of := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.keep(of, e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e.Action, of)
		}
	}
}

func (r *report) endTest(action string, of test) {
	switch action {
	case "pass":
		r.passed++
		r.keep(test{pkg: of.pkg}, r.afterPass(of))
	case "skip":
		r.skips = append(r.skips, skip{of, r.reasonOf(of)})
	case "fail":
		r.failed = append(r.failed, of)
		r.failedTests[of.pkg]++
		fmt.Fprint(r.out, r.text(of))
	}
	delete(r.output, of)
}

func (r *report) keep(of test, output string) {
	if output == "" {
		return
	}
	if r.output[of] == nil {
		r.output[of] = &strings.Builder{}
	}
	r.output[of].WriteString(output)
}

// afterPass is what go test took for a test's output although the test had passed: the stacks of a timeout, say, that
// another test is to blame for.
func (r *report) afterPass(of test) string {
	_, after, _ := strings.Cut(r.text(of), "--- PASS: "+of.name+" ")
	_, after, _ = strings.Cut(after, "\n")
	return after
}

func (r *report) endPackage(e event) {
	took := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.out, "ok    %s  %s\n", e.Package, took)
	case "skip":
		fmt.Fprintf(r.out, "none  %s  (no tests)\n", e.Package)
	case "fail":
		// Whatever was not finished, the test that a panic or a timeout struck among it, says why.
		for of := range r.output {
			if of.pkg == e.Package && of.name != "" {
				fmt.Fprint(r.out, r.text(of))
				delete(r.output, of)
			}
		}
		fmt.Fprint(r.out, r.text(test{pkg: e.Package}))
		fmt.Fprintf(r.out, "FAIL  %s  %s\n", e.Package, took)
		if r.failedTests[e.Package] == 0 {
			r.brokenPackages = append(r.brokenPackages, e.Package)
		}
	}
	delete(r.output, test{pkg: e.Package})
}

func (r *report) text(of test) string {
	if kept := r.output[of]; kept != nil {
		return kept.String()
	}
	return ""
}

// reasonOf is what the test said when it skipped, in one line, without the testing package's own.
func (r *report) reasonOf(of test) string {
	var said []string
	for line := range strings.Lines(r.text(of)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// finish prints the skips, the failures and, last, the count. A package that failed with no test to blame counts as one
// failed test.
func (r *report) finish() {
	fmt.Fprintln(r.out)
	for _, s := range r.skips {
		fmt.Fprintf(r.out, "skipped  %s %s: %s\n", s.test.pkg, s.test.name, s.reason)
	}
	for _, of := range r.failed {
		fmt.Fprintf(r.out, "failed   %s %s\n", of.pkg, of.name)
	}
	for _, pkg := range r.brokenPackages {
		fmt.Fprintf(r.out, "failed   %s: the package itself\n", pkg)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, len(r.failed)+len(r.brokenPackages), len(r.skips))
}
