package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// demoProvider is the command by which the demo starts this program a second time, as the simulated card provider. It is not
// for people, who have cmd/psp: this one lives no longer than its stdin, and so no longer than the demo, even one that is killed.
const demoProvider = "demo-provider"

// startProvider starts the provider on a free port and returns its URL. stop ends it.
func startProvider() (url string, stop func(), err error) {
	program, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(program, demoProvider)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = cmd.Wait() // how it ended is of no interest: its charges are gone with it
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("it ended before it listened: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

// runProvider says where it listens, in one line, and serves until in ends.
func runProvider(in io.Reader, out io.Writer) int {
	// Ctrl-C reaches it too, and it must outlive the payments that are being finished.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintf(os.Stderr, "payments: the card provider of the demo cannot listen: %v\n", err)
		return 1
	}
	fmt.Fprintf(out, "http://%s\n", listener.Addr())
	web := &http.Server{Handler: psp.NewServer(psp.Config{}), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = web.Serve(listener) }()
	_, _ = io.Copy(io.Discard, in)
	_ = web.Close()
	return 0
}
