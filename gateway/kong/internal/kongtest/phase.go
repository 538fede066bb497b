package kongtest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
)

// exchange is one request in Kong.
type exchange struct {
	t       testing.TB
	kong    *Kong
	request Request
	file    string
	service *Answer // in response
	source  string  // in log
	status  int     // in log
	// forService are headers that the plugin sets.
	forService map[string]string
	shared     map[string][]byte // google.protobuf.Value, encoded
	left       []net.Conn        // whose plugin waits for a reply that does not come
}

func (x *exchange) over() {
	for _, conn := range x.left {
		_ = conn.Close()
	}
}

func (x *exchange) log(source string, status int) {
	x.source, x.status = source, status
	x.run("log")
}

func (x *exchange) result(client *Answer, passed bool) Result {
	shared := map[string]string{}
	for name, encoded := range x.shared {
		value := &structpb.Value{}
		if err := proto.Unmarshal(encoded, value); err != nil {
			x.t.Errorf("the shared %s is no value: %v", name, err)
		}
		shared[name] = value.GetStringValue()
	}
	return Result{client, passed, shared}
}

// rounds is how often Kong runs a phase whose connection is closed on it before these tests give up; Kong itself does not.
const rounds = 200

// run runs a phase, again where the plugin server goes away under it, and returns the answer if the plugin gives one.
func (x *exchange) run(phase string) *Answer {
	x.t.Helper()
	if x.kong.BeforePhase != nil {
		x.kong.BeforePhase(phase)
	}
	if phase == x.kong.SpoilBefore {
		for name, value := range x.kong.Spoiled {
			x.shared[name] = x.encode(structpb.NewStringValue(value))
		}
	}
	repeat := phase == x.kong.Repeat
	var err error
	for range rounds {
		var conn net.Conn
		if conn, err = x.kong.Dial(phase); err == nil {
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			var answer *Answer
			var ended bool
			if answer, ended, err = x.serve(phase, conn); ended && !repeat {
				return answer
			}
			repeat = false
			_ = conn.Close()
		}
		time.Sleep(10 * time.Millisecond) // the server is being started again
	}
	x.t.Fatalf("Kong could not run %s: %v", phase, err)
	return nil
}

// serve answers what the plugin asks, until it is done, or answers the client.
func (x *exchange) serve(phase string, conn net.Conn) (answer *Answer, ended bool, err error) {
	for {
		method, err := readFrame(conn)
		if err != nil {
			return nil, false, err
		}
		if len(method) == 0 {
			if _, err := readFrame(conn); err != nil { // the RpcReturn
				return nil, false, err
			}
			return nil, true, conn.Close()
		}
		args, err := readFrame(conn)
		if err != nil {
			return nil, false, err
		}
		if string(method) == "kong.response.exit" {
			if phase == "log" {
				x.t.Errorf("kong.response.exit in log: the response was sent")
			}
			x.left = append(x.left, conn) // Kong goes on without a word to the plugin
			return readExit(x.t, args), true, nil
		}
		if x.kong.BeforeReply != nil {
			x.kong.BeforeReply(phase, string(method))
		}
		reply, served := x.ask(phase, string(method), args)
		if !served {
			x.t.Errorf("Kong does not serve %s in %s", method, phase)
			return nil, true, conn.Close()
		}
		if err := writeFrame(conn, reply); err != nil {
			return nil, false, err
		}
	}
}

// ask is Kong's side of the PDK.
func (x *exchange) ask(phase, method string, args []byte) (reply []byte, served bool) {
	if level, found := strings.CutPrefix(method, "kong.log."); found && level != "serialize" {
		x.note(level, args)
		return nil, true
	}
	switch method {
	case "kong.ctx.shared.get":
		name := &kong_plugin_protocol.String{}
		x.decode(args, name)
		if value, found := x.shared[name.V]; found {
			return value, true
		}
		return []byte{1 << 3, 1}, true // null_value 1, which is how Kong says nil
	case "kong.ctx.shared.set":
		kv := &kong_plugin_protocol.KV{}
		x.decode(args, kv)
		encoded, err := proto.Marshal(kv.V)
		if err != nil {
			x.t.Error(err)
		}
		x.shared[kv.K] = encoded
		return nil, true
	}
	switch phase {
	case "access":
		return x.inAccess(method, args)
	case "response":
		return x.inResponse(method)
	case "log": // Kong runs it in a timer, where there is no request any more
		switch method {
		case "kong.response.get_source":
			return x.encode(&kong_plugin_protocol.String{V: x.source}), true
		case "kong.response.get_status":
			return x.encode(&kong_plugin_protocol.Int{V: int32(x.status)}), true
		case "kong.request.get_headers":
			return encodeHeaders(x.request.Header), true
		}
	}
	return nil, false
}

func (x *exchange) inAccess(method string, args []byte) (reply []byte, served bool) {
	switch method {
	case "kong.request.get_method":
		return x.encode(&kong_plugin_protocol.String{V: x.request.Method}), true
	case "kong.request.get_http_version":
		return x.encode(&kong_plugin_protocol.Number{V: x.request.Version}), true
	case "kong.request.get_path_with_query":
		return x.encode(&kong_plugin_protocol.String{V: x.request.Target}), true
	case "kong.request.get_headers":
		return encodeHeaders(x.request.Header), true
	case "kong.request.get_raw_body":
		return x.body(), true
	case "kong.client.get_consumer":
		return x.encode(&kong_plugin_protocol.Consumer{Id: x.request.Consumer, Username: x.request.Username}), true
	case "kong.service.request.set_header":
		kv := &kong_plugin_protocol.KV{}
		x.decode(args, kv)
		x.forService[kv.K] = kv.V.GetStringValue()
		return nil, true
	case "kong.router.get_service":
		to := x.kong.Timeouts
		return x.encode(&kong_plugin_protocol.Service{ConnectTimeout: to[0], WriteTimeout: to[1], ReadTimeout: to[2], Retries: x.kong.Retries}), true
	case "kong.client.get_credential":
		return x.encode(&kong_plugin_protocol.AuthenticatedCredential{Id: x.request.Credential}), true
	}
	return nil, false
}

func (x *exchange) body() []byte {
	if x.file != "" {
		return x.encode(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_BodyFilepath{BodyFilepath: x.file}})
	}
	if len(x.request.Body) == 0 {
		return nil
	}
	return x.encode(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_Content{Content: x.request.Body}})
}

// Untold is a body that Kong cannot tell.
var Untold = []byte("\x00untold")

func (x *exchange) inResponse(method string) (reply []byte, served bool) {
	switch method {
	case "kong.service.response.get_status":
		return x.encode(&kong_plugin_protocol.Int{V: int32(x.service.Status)}), true
	case "kong.service.response.get_headers":
		return encodeHeaders(x.service.Header), true
	case "kong.service.response.get_raw_body":
		switch {
		case string(x.service.Body) == string(Untold) && x.file != "": // Kong names the request's file then
			return x.body(), true
		case string(x.service.Body) == string(Untold):
			return x.encode(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_Error{Error: "Can't read request body"}}), true
		}
		return x.encode(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_Content{Content: x.service.Body}}), true
	}
	return nil, false
}

func (x *exchange) note(level string, args []byte) {
	list := &structpb.ListValue{}
	x.decode(args, list)
	x.kong.mu.Lock()
	defer x.kong.mu.Unlock()
	x.kong.logged = append(x.kong.logged, level+": "+fmt.Sprint(list.AsSlice()...))
}

func (x *exchange) decode(b []byte, into proto.Message) {
	if err := proto.Unmarshal(b, into); err != nil {
		x.t.Errorf("the plugin's arguments cannot be read: %v", err)
	}
}

func (x *exchange) encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		x.t.Errorf("Kong's reply cannot be written: %v", err)
	}
	return b
}
