package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// grace is how long tests that are interrupted may take to clean up.
const grace = 15 * time.Second

// binary is a compiled test package.
type binary struct {
	pkg, file, folder string
}

// name is a file name made of the package's.
func (b binary) name() string {
	return strings.ReplaceAll(strings.TrimPrefix(b.pkg, module+"/"), "/", "-")
}

// compile builds the package's tests, once for all versions.
func compile(ctx context.Context, pkg, into string, race bool) (binary, error) {
	b := binary{pkg: pkg}
	b.file = filepath.Join(into, b.name()+".test")
	args := []string{"test", "-c", "-o", b.file}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, pkg)...).CombinedOutput(); err != nil {
		return binary{}, fmt.Errorf("compile the tests of %s: %w\n%s", pkg, err, out)
	}
	folder, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", pkg).Output()
	if err != nil {
		return binary{}, fmt.Errorf("find the folder of %s: %w", pkg, err)
	}
	b.folder = strings.TrimSpace(string(folder))
	return b, nil
}

// run runs some of the binary's tests, and returns what became of them. What they say goes to log.
func (b binary) run(ctx context.Context, which selection, environment []string, timeout time.Duration, log io.Writer, progress func(through int)) results {
	// In a process group of its own, so that all of it can be ended.
	cmd := exec.Command("go", "tool", "test2json", "-p", b.pkg, b.file,
		"-test.v=test2json", "-test.timeout="+timeout.String(), "-test.run="+which.run, "-test.skip="+which.skip)
	cmd.Dir, cmd.Env = b.folder, environment
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	failed := func(err error) results {
		return results{failed: 1, names: []string{b.name() + ": " + err.Error()}}
	}
	events, err := cmd.StdoutPipe()
	if err != nil {
		return failed(err)
	}
	if err := cmd.Start(); err != nil {
		return failed(err)
	}
	over := make(chan struct{})
	defer close(over)
	reading := newReading()
	go b.watch(ctx, cmd.Process.Pid, timeout, over, func() { progress(reading.through()) })
	readErr := reading.read(events, log)
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		waitErr = errors.Join(waitErr, context.Cause(ctx))
	}
	return reading.count(b.pkg, errors.Join(readErr, waitErr))
}

// watch tells how far a run is, now and then, and ends it when ctx ends, or when it does not end by itself.
func (b binary) watch(ctx context.Context, group int, timeout time.Duration, over <-chan struct{}, progress func()) {
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	hung, interrupted := time.After(timeout+grace), ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case <-over:
			return
		case <-tick.C:
			progress()
		case <-interrupted:
			_ = syscall.Kill(-group, syscall.SIGTERM)
			interrupted, kill = nil, time.After(grace)
		case <-hung:
			_ = syscall.Kill(-group, syscall.SIGKILL)
		case <-kill:
			_ = syscall.Kill(-group, syscall.SIGKILL)
		}
	}
}

// logFile is where a cell's tests say what they say.
func logFile(folder, version, column string, b binary) (*os.File, error) {
	return os.Create(filepath.Join(folder, fmt.Sprintf("%s-%s-%s.log", version, column, b.name())))
}
