package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long what a command started may outlive it before it is killed.
const grace = 30 * time.Second

// execute runs the command in a process group of its own and passes signals on to the whole group. So Ctrl-C reaches
// everyone in it once, whether it comes from a terminal or from kill, and a command such as go run, which dies of
// SIGTERM, does not leave its program behind.
func execute(command, environment []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if !isTerminal(os.Stdin) {
		// A terminal stops a group in the background that reads from it.
		cmd.Stdin = os.Stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return exitNoExec, fmt.Errorf("run %s: %w", command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case received := <-signals:
			if number, ok := received.(syscall.Signal); ok {
				_ = syscall.Kill(-cmd.Process.Pid, number) // fails where everyone has ended
			}
		case err := <-ended:
			return codeOf(err), awaitGroup(cmd.Process.Pid, signals)
		}
	}
}

// awaitGroup waits for those whom the command started and left in its group, and goes on passing signals to them.
func awaitGroup(group int, signals <-chan os.Signal) error {
	deadline := time.After(grace)
	for {
		if err := syscall.Kill(-group, 0); errors.Is(err, syscall.ESRCH) {
			return nil
		}
		select {
		case received := <-signals:
			if number, ok := received.(syscall.Signal); ok {
				_ = syscall.Kill(-group, number)
			}
		case <-deadline:
			_ = syscall.Kill(-group, syscall.SIGKILL)
			return fmt.Errorf("the command left processes behind, which did not end in %s: they were killed", grace)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func codeOf(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return exitFailed
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && file.Name() != os.DevNull
}
