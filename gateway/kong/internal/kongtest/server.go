package kongtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
)

// Server is a plugin server, as Kong starts one.
type Server struct {
	t       testing.TB
	binary  string
	prefix  string
	mu      sync.Mutex
	process *exec.Cmd
	errors  *output
}

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// Start starts the binary, which is ended with the test.
func Start(t testing.TB, binary string) *Server {
	t.Helper()
	prefix, err := os.MkdirTemp("", "kong") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, binary: binary, prefix: prefix, errors: &output{}}
	t.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(prefix)
	})
	s.Restart()
	return s
}

// Restart starts the server again after Kill.
func (s *Server) Restart() {
	s.t.Helper()
	process := exec.Command(s.binary, "-kong-prefix", s.prefix)
	process.Stderr = s.errors
	process.Stdout = s.errors
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.process = process
	s.mu.Unlock()
	for range 1000 {
		if conn, err := s.connect(); err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatalf("the plugin server does not listen: %s", s.Output())
}

// Kill kills the server. A second call does nothing.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
}

// Output is what the server has written to its standard output and error.
func (s *Server) Output() string {
	s.errors.mu.Lock()
	defer s.errors.mu.Unlock()
	return s.errors.text.String()
}

func (s *Server) connect() (net.Conn, error) {
	return net.Dial("unix", filepath.Join(s.prefix, filepath.Base(s.binary)+".socket"))
}

// Plugin is one configuration of the plugin: as one worker of Kong has it.
type Plugin struct {
	server *Server
	config []byte
	mu     sync.Mutex
	id     int32
}

// Configure makes a plugin of this configuration, which is encoded as JSON. The server hears of it with the first request.
func (s *Server) Configure(config any) *Plugin {
	encoded, err := json.Marshal(config)
	if err != nil {
		s.t.Fatal(err)
	}
	return &Plugin{server: s, config: encoded}
}

// Dial has the server run a phase. As Kong does it, the configuration is sent first where the server may have forgotten it: it is forgotten when a
// connection fails.
func (p *Plugin) Dial(phase string) (net.Conn, error) {
	id, err := p.instance()
	if err != nil {
		return nil, err
	}
	conn, err := p.server.connect()
	if err != nil {
		p.Forget()
		return nil, err
	}
	event := &kong_plugin_protocol.CmdHandleEvent{InstanceId: id, EventName: phase}
	if err := call(conn, &kong_plugin_protocol.RpcCall{Sequence: 7, Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{CmdHandleEvent: event}}); err != nil {
		p.Forget()
		_ = conn.Close()
		return nil, err
	}
	return &watched{Conn: conn, plugin: p}, nil
}

// watched forgets the instance when the server closes its connection.
type watched struct {
	net.Conn
	plugin *Plugin
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.plugin.Forget()
	}
	return n, err
}

// Forget has the next phase start the instance anew.
func (p *Plugin) Forget() {
	p.mu.Lock()
	p.id = 0
	p.mu.Unlock()
}

func (p *Plugin) instance() (int32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id != 0 {
		return p.id, nil
	}
	conn, err := p.server.connect()
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	start := &kong_plugin_protocol.CmdStartInstance{Name: "onlyonce", Config: p.config}
	if err := call(conn, &kong_plugin_protocol.RpcCall{Sequence: 3, Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{CmdStartInstance: start}}); err != nil {
		return 0, err
	}
	frame, err := readFrame(conn)
	if err != nil {
		return 0, fmt.Errorf("start the instance: %w", err)
	}
	returned := &kong_plugin_protocol.RpcReturn{}
	if err := proto.Unmarshal(frame, returned); err != nil || returned.Sequence != 3 {
		return 0, errors.Join(errors.New("the instance's status cannot be read"), err)
	}
	p.id = returned.GetInstanceStatus().GetInstanceId()
	return p.id, nil
}

// Phases is a plugin in this process.
type Phases interface {
	Access(*pdk.PDK)
	Response(*pdk.PDK)
	Log(*pdk.PDK)
}

// Inside runs a plugin's phases in this process, over the same protocol as a server's.
func Inside(plugin Phases) func(phase string) (net.Conn, error) {
	return func(phase string) (net.Conn, error) {
		kong, here := net.Pipe()
		go func() {
			defer func() { _ = here.Close() }()
			tools := pdk.Init(here)
			switch phase {
			case "access":
				plugin.Access(tools)
			case "response":
				plugin.Response(tools)
			case "log":
				plugin.Log(tools)
			}
			if writeFrame(here, nil) == nil {
				_ = writeFrame(here, nil)
			}
		}()
		return kong, nil
	}
}
