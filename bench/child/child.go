// Package child runs this program once more, as a process that can be killed, or that has a processor's time of its own.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// variable names a child's role and order, as role:order.
const variable = "ONLYONCE_BENCH_CHILD"

// Role is what a child does with its order. It should end with its stdin, so that no child outlives its parent.
type Role func(order []byte) error

// Run plays the role that the environment asks for and exits, or returns where none is asked for.
func Run(roles map[string]Role) {
	name, order, asked := strings.Cut(os.Getenv(variable), ":")
	if !asked {
		return
	}
	role, known := roles[name]
	if !known {
		fmt.Fprintln(os.Stderr, "bench: no role", name)
		os.Exit(2)
	}
	if err := role([]byte(order)); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Process is a child. Its calls are safe for concurrent use.
type Process struct {
	cmd *exec.Cmd
	in  *json.Encoder
	mu  sync.Mutex
	out *bufio.Reader
	end func() error
}

// Start begins a child in this role. files are its descriptors from 3 on. It is killed when ctx ends.
func Start(ctx context.Context, role string, order any, files ...*os.File) (*Process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), variable+"="+role+":"+string(encoded))
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = files
	apart(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, in: json.NewEncoder(in), out: bufio.NewReader(out)}
	p.end = sync.OnceValue(func() error {
		_ = in.Close()
		return cmd.Wait()
	})
	return p, nil
}

// Tell sends the child a line of JSON.
func (p *Process) Tell(order any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.in.Encode(order)
}

// Hear reads the child's next line of JSON. One at a time may.
func (p *Process) Hear(answer any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return errors.Join(fmt.Errorf("the child %d said no more: %w", p.cmd.Process.Pid, err), p.end())
	}
	return json.Unmarshal(line, answer)
}

// End asks the child to end, by the end of its stdin, and waits for it. A second call returns what the first did.
func (p *Process) End() error { return p.end() }

// Kill ends the child by SIGKILL and waits for that.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.end()
}
