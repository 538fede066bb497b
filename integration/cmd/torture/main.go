// Command torture breaks a payments service in every way that it knows, and checks that every payment was made once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/overlay"
	"github.com/onlyonce/onlyonce/integration/torture"
)

// The exit codes.
const (
	exitClean       = 0
	exitConvicted   = 1
	exitFailed      = 2
	exitInterrupted = 130
)

func main() {
	os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

func run(args []string, getenv func(string) string, stdout, stderr *os.File) int {
	asked, code, ok := parse(args, getenv, stderr)
	if !ok {
		return code
	}
	if asked.list {
		list(stdout)
		return exitClean
	}
	if asked.check != "" {
		return check(asked.check, stdout, stderr)
	}
	// From before anything is started, so that no signal leaves something behind.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer cancel()
	if asked.config.Server == "" {
		scratch, err := os.MkdirTemp("", "onlyonce-server-")
		if err != nil {
			fmt.Fprintln(stderr, "torture:", err)
			return exitFailed
		}
		defer os.RemoveAll(scratch)
		asked.config.Server = filepath.Join(scratch, "tortureserver")
		fmt.Fprintln(stderr, "torture: building the server, with a clock that can be moved")
		err = overlay.Build(ctx, overlay.Target{
			Root: asked.root, Package: "integration/cmd/tortureserver", Output: asked.config.Server, Race: asked.race,
		}, overlay.Clock...)
		if err != nil {
			return failed(ctx, err, stderr)
		}
	}
	fmt.Fprintf(stderr, "torture: %v with seed %d (SEED=%d repeats what is drawn)\n", asked.config.Duration, asked.config.Seed, asked.config.Seed)
	asked.config.Progress = progress(stderr)
	report, err := torture.Run(ctx, asked.config)
	if err != nil {
		return failed(ctx, err, stderr)
	}
	fmt.Fprint(stdout, report)
	if !report.Clean() {
		return exitConvicted
	}
	return exitClean
}

func failed(ctx context.Context, err error, stderr io.Writer) int {
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "torture: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "torture:", err)
	return exitFailed
}

// progress prints a line every second on a terminal, and every ten seconds elsewhere.
func progress(out *os.File) func(torture.Progress) {
	every := 10 * time.Second
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	if terminal {
		every = time.Second
	}
	var last time.Duration
	return func(p torture.Progress) {
		if p.Elapsed-last < every-100*time.Millisecond {
			return
		}
		last = p.Elapsed
		fmt.Fprintln(out, "torture:", p)
	}
}

func list(out io.Writer) {
	for _, f := range torture.Faults() {
		fmt.Fprintf(out, "%-18s %s\n", f.Name, f.About)
	}
}

// check judges a history that was kept.
func check(name string, stdout, stderr io.Writer) int {
	file, err := os.Open(name)
	if err != nil {
		fmt.Fprintln(stderr, "torture:", err)
		return exitFailed
	}
	defer file.Close()
	h, err := history.Read(file)
	if err == nil && len(h.Attempts) == 0 {
		err = errors.New("there is no attempt in " + name)
	}
	if err != nil {
		fmt.Fprintln(stderr, "torture:", err)
		return exitFailed
	}
	verdict := history.Check(h)
	fmt.Fprintln(stdout, verdict)
	if !verdict.Clean() {
		return exitConvicted
	}
	return exitClean
}
