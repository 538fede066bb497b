package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// results are what became of the tests of one cell, or of a part of it.
type results struct {
	passed, failed, skipped int
	// names are the failed tests', and reasons are why tests were skipped, each once.
	names, reasons []string
}

func (r *results) add(other results) {
	r.passed += other.passed
	r.failed += other.failed
	r.skipped += other.skipped
	r.names = append(r.names, other.names...)
	for _, reason := range other.reasons {
		if !slices.Contains(r.reasons, reason) {
			r.reasons = append(r.reasons, reason)
		}
	}
}

// event is a line of test2json.
type event struct {
	Action, Test, Output string
}

// reading follows a test binary's events. What is counted are tests without parts: of others, the parts are.
type reading struct {
	mu      sync.Mutex
	ended   map[string]string // how each test ended; "": it has not
	parents map[string]bool
	said    map[string]string // the last line that a test said itself
	broken  bool              // the binary failed
}

// place is where a test says something. Where many say the same, that is said once.
var place = regexp.MustCompile(`^\w+\.go:\d+: `)

func newReading() *reading {
	return &reading{ended: map[string]string{}, parents: map[string]bool{}, said: map[string]string{}}
}

// read reads events to the end. What the tests said goes to log.
func (r *reading) read(events io.Reader, log io.Writer) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			r.add(e, log)
		} else {
			_, _ = log.Write(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *reading) add(e event, log io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Action {
	case "run":
		r.ended[e.Test] = ""
		if at := strings.LastIndex(e.Test, "/"); at > 0 {
			for parent := e.Test[:at]; ; parent = parent[:at] {
				r.parents[parent] = true
				if at = strings.LastIndex(parent, "/"); at < 0 {
					break
				}
			}
		}
	case "output":
		_, _ = io.WriteString(log, e.Output)
		if text := strings.TrimSpace(e.Output); text != "" && !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- ") {
			r.said[e.Test] = place.ReplaceAllString(text, "")
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.broken = r.broken || e.Action == "fail"
			return
		}
		r.ended[e.Test] = e.Action
	}
}

// through is how many tests have ended.
func (r *reading) through() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for test, how := range r.ended {
		if how != "" && !r.parents[test] {
			n++
		}
	}
	return n
}

// count counts. A test that has not ended has failed: the binary ended before it. So has a binary that says so with no test to
// blame, and one that ran nothing.
func (r *reading) count(pkg string, exit error) results {
	r.mu.Lock()
	defer r.mu.Unlock()
	short := strings.TrimPrefix(pkg, module+"/")
	var counted results
	for test, how := range r.ended {
		switch {
		case how == "pass" && !r.parents[test]:
			counted.passed++
		case how == "skip" && !r.parents[test]:
			counted.skipped++
			counted.add(results{reasons: []string{short + ": " + r.said[test]}})
		case how == "fail" && (!r.parents[test] || !r.partFailed(test)), how == "" && !r.parents[test]:
			counted.failed++
			counted.names = append(counted.names, short+" "+test)
		}
	}
	slices.Sort(counted.names)
	slices.Sort(counted.reasons)
	switch {
	case counted.failed == 0 && (r.broken || exit != nil):
		counted.failed++
		counted.names = append(counted.names, fmt.Sprintf("%s: the test binary itself (%s)", short, strings.ReplaceAll(fmt.Sprint(exit), "\n", ", ")))
	case len(r.ended) == 0:
		counted.failed++
		counted.names = append(counted.names, short+": no test was selected")
	}
	return counted
}

func (r *reading) partFailed(test string) bool {
	for other, how := range r.ended {
		if how != "pass" && how != "skip" && strings.HasPrefix(other, test+"/") {
			return true
		}
	}
	return false
}
