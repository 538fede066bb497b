package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// providerVariable makes this test binary a card payment provider; it holds the settings.
const providerVariable = "ONLYONCE_STACK_PROVIDER"

// providerSettings are what a psp.Config has that can be handed to a process.
type providerSettings struct {
	FailureRate float64
	Slow        time.Duration
	Seed        uint64
}

func providerProcess(encoded string) int {
	word()
	var with providerSettings
	err := json.Unmarshal([]byte(encoded), &with)
	if err == nil {
		var listener net.Listener
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			listening(listener)
			err = http.Serve(listener, psp.NewServer(psp.Config{FailureRate: with.FailureRate, Slow: with.Slow, Seed: with.Seed}))
		}
	}
	fmt.Fprintln(os.Stderr, "provider process:", err)
	return 1
}

// The stages of a request at the provider at which it can be held, in their order. The two in the middle are the provider's own.
const (
	doorstep psp.Stage = "doorstep" // it has come as a whole, and the provider knows nothing of it
	onTheWay psp.Stage = "reply"    // it is done with, and the client has no reply
)

var providerStages = []psp.Stage{doorstep, psp.BeforeCharge, psp.AfterCharge, onTheWay}

// provider is one that a test can stop at. Who calls it is told by the first segment of the path.
type provider struct {
	server *psp.Server
	url    string
	called func() // may be nil

	mu    sync.Mutex
	gates map[gateAt]*gate
	busy  map[string]int // requests under way, by caller
	asked map[string]int // requests for a charge, by caller
}

type gateAt struct {
	caller string
	stage  psp.Stage
}

// gate holds the first request that comes to it.
type gate struct {
	reached, open chan struct{}
	once          sync.Once
}

func (g *gate) Reached() <-chan struct{} { return g.reached }
func (g *gate) Resume()                  { g.once.Do(func() { close(g.open) }) }

type callerKey struct{}

func startProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{gates: map[gateAt]*gate{}, busy: map[string]int{}, asked: map[string]int{}}
	p.server = psp.NewServer(psp.Config{At: func(ctx context.Context, stage psp.Stage, _ string) {
		p.at(ctx.Value(callerKey{}).(string), stage)
	}})
	web := httptest.NewServer(p)
	p.url = web.URL
	t.Cleanup(web.Close)
	return p
}

// to is the URL by which a caller is known.
func (p *provider) to(caller string) string { return p.url + "/" + caller }

// gate holds the next request of the caller at the stage.
func (p *provider) gate(t *testing.T, caller string, stage psp.Stage) *gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	p.gates[gateAt{caller, stage}] = g
	t.Cleanup(g.Resume)
	return g
}

func (p *provider) at(caller string, stage psp.Stage) {
	p.mu.Lock()
	g := p.gates[gateAt{caller, stage}]
	delete(p.gates, gateAt{caller, stage})
	p.mu.Unlock()
	if g != nil {
		close(g.reached)
		<-g.open
	}
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	p.count(caller, 1)
	defer p.count(caller, -1)
	if r.Method == http.MethodPost {
		p.mu.Lock()
		p.asked[caller]++
		p.mu.Unlock()
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it has not come as a whole
	}
	if p.called != nil {
		p.called()
	}
	p.at(caller, doorstep)
	// A client that goes away does not stop it.
	inner := r.Clone(context.WithValue(context.WithoutCancel(r.Context()), callerKey{}, caller))
	inner.URL.Path, inner.Body = "/"+path, io.NopCloser(bytes.NewReader(body))
	answered := httptest.NewRecorder()
	p.server.ServeHTTP(answered, inner)
	p.at(caller, onTheWay)
	for name, values := range answered.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answered.Code)
	_, _ = w.Write(answered.Body.Bytes())
}

// charges is what the provider has taken, whoever asked for it.
func (p *provider) charges(t *testing.T) []psp.RecordedCharge {
	t.Helper()
	all, err := psp.NewClient(p.to("test"), nil).List(deadline(t))
	require.NoError(t, err)
	return all
}

// askedBy is how often a caller has asked for a charge.
func (p *provider) askedBy(caller string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[caller]
}

func (p *provider) count(caller string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy[caller] += n
}

// quiet waits until no request of the callers is under way.
func (p *provider) quiet(t *testing.T, callers ...string) {
	t.Helper()
	for _, caller := range callers {
		eventually(t, "the provider is done", func() (bool, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.busy[caller] == 0, nil
		})
	}
}
