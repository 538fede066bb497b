// Command testsummary runs go test and ends with a count: how many tests passed, failed and were skipped, and why.
//
//	testsummary [flags and packages of go test]
//
// A line for each package appears as soon as it is through, and the whole output of every test that fails. Its exit code
// is go test's own.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	// Signals reach go test by themselves, being sent to the whole process group. It ends, and so do we.
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(stderr, "testsummary:", err)
		return 1
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(stderr, "testsummary: run go test:", err)
		return 1
	}
	report := newReport(stdout)
	readErr := report.read(events)
	waitErr := cmd.Wait()
	report.finish()
	if readErr != nil {
		fmt.Fprintln(stderr, "testsummary: read go test's output:", readErr)
		return 1
	}
	var exit *exec.ExitError
	switch {
	case errors.As(waitErr, &exit):
		return max(exit.ExitCode(), 1)
	case waitErr != nil:
		fmt.Fprintln(stderr, "testsummary: run go test:", waitErr)
		return 1
	}
	return 0
}
