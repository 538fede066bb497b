// Package kongtest plays Kong for tests of a plugin server: it sends a plugin through the phases of a request, over the protocol that Kong speaks,
// and answers what the plugin asks in them. What Kong does not serve in a phase, it does not serve either.
package kongtest

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Request is what a client has sent, as Kong has it.
type Request struct {
	Method string
	// Target is the path with the query, as it was sent.
	Target string
	// Header has names in lower case.
	Header map[string][]string
	Body   []byte
	// InFile says that nginx has put the body into a file, as it does above client_body_buffer_size.
	InFile bool
	// Version is 1.1 where it is 0.
	Version float64
	// Consumer, Username and Credential are of who was authenticated.
	Consumer, Username, Credential string
	// ForService are the headers that the plugin has set for the service.
	ForService map[string]string
}

// Answer is a response: the service's, or what the client got.
type Answer struct {
	Status int
	Header map[string][]string
	Body   []byte
}

// Fate is what becomes of a request that Kong has passed on, as far as a plugin gets to see.
type Fate int

const (
	// Answers: the service answers, and Kong runs Response and Log.
	Answers Fate = iota
	// Refuses: connection refused, time-out or a cut connection. Kong answers for the service, and runs Log alone.
	Refuses
	// IsCut is Refuses in the middle of the body: from Kong 3.5 on, Log sees the status 200.
	IsCut
	// Vanishes: the client hangs up. Kong runs Response and Log all the same, and sends nothing.
	Vanishes
	// WorkerDies: the worker is killed while the service works. Kong runs nothing any more.
	WorkerDies
	// Unbuffered: the client speaks HTTP/2, and Kong is 3.8 or older: it passes the answer on, and runs Log alone.
	Unbuffered
)

// Kong drives a plugin.
type Kong struct {
	// Dial returns a connection on which the plugin runs this phase: Plugin.Dial, or Inside.
	Dial func(phase string) (net.Conn, error)
	// Service answers requests that were passed on.
	Service func(Request) Answer
	// Timeouts are the service's: connect, write and read, in milliseconds; and so are Retries.
	Timeouts [3]int32
	Retries  int32
	// ReplacedBy is what another plugin answers in response, behind this one, in place of the service.
	ReplacedBy *Answer
	// BeforePhase, where it is set, is called before each phase.
	BeforePhase func(phase string)
	// BeforeReply, where it is set, is called when the plugin asks for something, before Kong answers.
	BeforeReply func(phase, method string)
	// Repeat is a phase that Kong runs twice, as if the connection had been closed at the end of the first time.
	Repeat string
	// Spoiled is what another plugin puts into the shared context before the phase SpoilBefore.
	SpoilBefore string
	Spoiled     map[string]string

	mu     sync.Mutex
	passed int
	logged []string
}

// Passed counts the requests that the service has had.
func (k *Kong) Passed() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.passed
}

// Logged returns what the plugin has written to Kong's log.
func (k *Kong) Logged() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.logged...)
}

// Result is how a request ended.
type Result struct {
	// Client is what the client got; nil if nothing.
	Client *Answer
	// Passed says that the service has had the request.
	Passed bool
	// Shared is Kong's shared context as the request has left it.
	Shared map[string]string
}

// Do sends one request through its phases.
func (k *Kong) Do(t testing.TB, request Request, fate Fate) Result {
	t.Helper()
	if request.Version == 0 {
		request.Version = 1.1
	}
	x := &exchange{t: t, kong: k, request: request, shared: map[string][]byte{}, forService: map[string]string{}}
	defer x.over()
	if request.InFile {
		x.file = filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(x.file, request.Body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if answered := x.run("access"); answered != nil {
		x.log("exit", answered.Status)
		return x.result(answered, false)
	}
	k.mu.Lock()
	k.passed++
	k.mu.Unlock()
	request.ForService = x.forService
	answer := k.Service(request)
	client := &answer
	switch fate {
	case Answers, Vanishes:
		x.service = &answer
		source := "service"
		if replaced := x.run("response"); replaced != nil {
			client, source = replaced, "exit"
		}
		if k.ReplacedBy != nil {
			client, source = k.ReplacedBy, "exit"
		}
		x.log(source, client.Status)
		if fate == Vanishes {
			client = nil
		}
	case Refuses:
		client = &Answer{Status: 502, Body: []byte(`{"message":"An invalid response was received from the upstream server"}`)}
		x.log("exit", client.Status)
	case IsCut:
		client = nil
		x.log("exit", 200)
	case Unbuffered:
		x.log("service", answer.Status)
	case WorkerDies:
		client = nil
	}
	return x.result(client, true)
}
