package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// The test binary is the command when this is set, so that exit codes and signals are those of a real process.
const asCommand = "PSP_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

func command(t *testing.T, environment []string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = append([]string{asCommand + "=1", "PSP_LISTEN_ADDR=127.0.0.1:0"}, environment...)
	return c
}

func TestExitCodesAndWhatIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		environment []string
		args        []string
		code        int
		says        []string
	}{
		"help": {nil, []string{"-h"}, 0, []string{
			"tok_visa", "tok_declined", "tok_hang", "tok_500_before", "tok_500_after", "tok_drop", "tok_slow", "tok_500_after_x2",
			"Idempotency-Key", "PSP_LISTEN_ADDR", "127.0.0.1:8081", "PSP_FAILURE_RATE", "PSP_SLOW", "PSP_MAX_HANG", "PSP_SEED"}},
		"unknown flag":        {nil, []string{"-nothing"}, 2, []string{"-nothing", "Try psp -h"}},
		"argument":            {nil, []string{"serve"}, 2, []string{`"serve" is one argument too many`, "Try psp -h"}},
		"rate above 1":        {nil, []string{"-failure-rate", "1.1"}, 2, []string{"-failure-rate cannot be 1.1: give 0 to 1"}},
		"rate below 0":        {nil, []string{"-failure-rate", "-0.1"}, 2, []string{"give 0 to 1"}},
		"rate that is none":   {nil, []string{"-failure-rate", "NaN"}, 2, []string{"give 0 to 1"}},
		"not slow":            {nil, []string{"-slow", "0s"}, 2, []string{"-slow cannot be 0s: give more than 0s"}},
		"no hang":             {nil, []string{"-max-hang", "-1s"}, 2, []string{"-max-hang cannot be -1s: give more than 0s"}},
		"seed in words":       {nil, []string{"-seed", "lucky"}, 2, []string{"lucky"}},
		"bad variable":        {[]string{"PSP_SLOW=soon"}, nil, 2, []string{`PSP_SLOW cannot be "soon"`}},
		"bad rate by name":    {[]string{"PSP_FAILURE_RATE=2"}, nil, 2, []string{"give 0 to 1"}},
		"address of nobody":   {nil, []string{"-listen", "127.0.0.1:99999"}, 1, []string{"cannot listen on 127.0.0.1:99999", "PSP_LISTEN_ADDR"}},
		"help wins over ones": {[]string{"PSP_FAILURE_RATE=2"}, []string{"-h"}, 0, []string{"tok_visa"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := command(t, c.environment, c.args...).CombinedOutput()
			code := 0
			if exit := (*exec.ExitError)(nil); err != nil {
				require.ErrorAs(t, err, &exit)
				code = exit.ExitCode()
			}
			require.Equal(t, c.code, code, "%s", said)
			for _, says := range c.says {
				require.Contains(t, string(said), says)
			}
			require.NotContains(t, string(said), "goroutine ")
		})
	}
}

// running is a command that serves.
type running struct {
	*exec.Cmd
	out *bufio.Reader
	url string
}

func start(t *testing.T, environment []string, args ...string) running {
	t.Helper()
	c := command(t, environment, args...)
	c.Stderr = os.Stderr
	pipe, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	out := bufio.NewReader(pipe)
	lines := make(chan string, 1)
	go func() {
		line, _ := out.ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		require.Regexp(t, `^psp: listening on http://127\.0\.0\.1:[1-9][0-9]*\n$`, line)
		return running{c, out, strings.TrimSpace(strings.TrimPrefix(line, "psp: listening on "))}
	case <-time.After(30 * time.Second):
		t.Fatal("the command did not say where it listens")
		panic("unreachable")
	}
}

// requireOrderlyEnd waits for the process, less long than it would wait for a request that hangs.
func (r running) requireOrderlyEnd(t *testing.T) {
	t.Helper()
	type end struct {
		rest string
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		rest, _ := io.ReadAll(r.out)
		ended <- end{string(rest), r.Wait()}
	}()
	select {
	case e := <-ended:
		require.NoError(t, e.err, "an orderly end is exit code 0")
		require.Empty(t, e.rest, "one line is all that is printed")
	case <-time.After(30 * time.Second):
		t.Fatal("the command did not end")
	}
}

// client has connections of its own: a process that ended may have had the port before, and one to it would be lost.
func (r running) client() *psp.Client {
	return psp.NewClient(r.url, &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}})
}

func pay(card string) psp.ChargeRequest {
	return psp.ChargeRequest{Amount: 100, Currency: "USD", Card: card}
}

func TestItServesUntilASignal(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			r := start(t, nil)
			client := r.client()
			charge, err := client.Charge(t.Context(), "k-1", pay("tok_visa"))
			require.NoError(t, err)
			list, err := client.List(t.Context())
			require.NoError(t, err)
			require.Equal(t, []psp.RecordedCharge{{Charge: charge, IdempotencyKey: "k-1"}}, list)
			require.NoError(t, r.Process.Signal(signal))
			r.requireOrderlyEnd(t)
		})
	}
}

func TestFlagsAndVariablesReachTheProviderAndTheFlagWins(t *testing.T) {
	t.Parallel()
	r := start(t, []string{"PSP_FAILURE_RATE=0", "PSP_SLOW=1h", "PSP_MAX_HANG=1ms", "PSP_SEED=7"}, "-slow", "1ms")
	client := r.client()
	_, err := client.Charge(t.Context(), "k-1", pay("tok_slow"))
	require.NoError(t, err)
	_, err = client.Charge(t.Context(), "k-2", pay("tok_hang"))
	require.ErrorIs(t, err, io.EOF, "the provider gave up before the client did")
	require.NoError(t, r.Process.Signal(syscall.SIGTERM))
	r.requireOrderlyEnd(t)

	r = start(t, []string{"PSP_FAILURE_RATE=1"})
	_, err = r.client().Charge(t.Context(), "k-1", pay("tok_visa"))
	var unknown *psp.Unknown
	require.ErrorAs(t, err, &unknown)
	require.NoError(t, r.Process.Signal(syscall.SIGTERM))
	r.requireOrderlyEnd(t)
}

func TestASignalEndsWhatHangs(t *testing.T) {
	t.Parallel()
	r := start(t, nil, "-max-hang", "1h")
	sent, ended := make(chan struct{}), make(chan error, 1)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) },
	})
	go func() {
		_, err := r.client().Charge(ctx, "k-1", pay("tok_hang"))
		ended <- err
	}()
	<-sent
	// By its answer the request before has been read as well; if not, it ends in the same way.
	_, err := r.client().List(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.Process.Signal(syscall.SIGTERM))
	r.requireOrderlyEnd(t)
	var unknown *psp.Unknown
	require.ErrorAs(t, <-ended, &unknown)
}

func TestTheEndWaitsForAChargeThatRuns(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var c config
	c.listenAddr = "127.0.0.1:0"
	c.provider.At = func(_ context.Context, stage psp.Stage, _ string) {
		if stage == psp.BeforeCharge {
			close(entered)
			<-release
		}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	defer stop()
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, c, out) }()
	line, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	address := strings.TrimSpace(strings.TrimPrefix(line, "psp: listening on http://"))

	paid := make(chan error, 1)
	go func() {
		_, err := psp.NewClient("http://"+address, nil).Charge(context.WithoutCancel(t.Context()), "k-1", pay("tok_visa"))
		paid <- err
	}()
	<-entered
	stop()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 10*time.Second, 5*time.Millisecond, "it takes no new connections")
	select {
	case err := <-ended:
		t.Fatalf("it ended, with %v, while a charge ran", err)
	default:
	}
	close(release)
	require.NoError(t, <-paid)
	require.NoError(t, <-ended)
}
