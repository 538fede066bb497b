package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
)

// sampled runs work under a CPU profile, and keeps its allocations.
func sampled(file string, work func() error) error {
	cpu, err := os.Create(file + ".cpu.pprof")
	if err != nil {
		return err
	}
	defer cpu.Close()
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	err = work()
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	allocs, err := os.Create(file + ".allocs.pprof")
	if err != nil {
		return err
	}
	runtime.GC() // what is not collected yet is not in the profile
	if err := pprof.Lookup("allocs").WriteTo(allocs, 0); err != nil {
		return err
	}
	return allocs.Close()
}

// lines is how much of a profile is printed.
const lines = 16

// client prints where the client's processor time went, by cumulative share.
func client(ctx context.Context, file string, payments int64, stdout io.Writer) error {
	fmt.Fprintf(stdout, "client, in %s.cpu.pprof and %[1]s.allocs.pprof:\n", file)
	top, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-cum", "-nodecount", fmt.Sprint(lines),
		"-focus", "Pay", file+".cpu.pprof").Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	for line := range strings.Lines(string(top)) {
		fmt.Fprint(stdout, "\t", line)
	}
	fmt.Fprintln(stdout)
	return nil
}
