package main_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
)

// dumped is what Kong learns of the plugin before it starts it.
type dumped struct {
	Protocol, SocketPath string
	Plugins              []struct {
		Name, Version string
		Phases        []string
		Priority      int
		Schema        struct {
			Name   string
			Fields []map[string]record
		}
	}
}

type record struct {
	Type   string
	Fields []map[string]typed
}

type typed struct {
	Type     string
	Elements *typed
}

func (f typed) String() string {
	if f.Elements != nil {
		return f.Type + " of " + f.Elements.Type
	}
	return f.Type
}

// dump runs the plugin as Kong does to learn of it, with the whole network out of reach as far as that can be had.
func dump(t *testing.T, arguments ...string) dumped {
	t.Helper()
	command := exec.Command(binary(t), append([]string{"-dump"}, arguments...)...)
	command.Env = []string{}
	command.Stderr = os.Stderr
	text, err := command.Output()
	require.NoError(t, err)
	var d dumped
	require.NoError(t, json.Unmarshal(text, &d), "%s", text)
	require.Len(t, d.Plugins, 1)
	return d
}

// fields are the configuration's, with their types.
func fields(t *testing.T) map[string]string {
	t.Helper()
	schema := dump(t).Plugins[0].Schema
	require.Len(t, schema.Fields, 1)
	config := schema.Fields[0]["config"]
	require.Equal(t, "record", config.Type)
	found := map[string]string{}
	for _, field := range config.Fields {
		require.Len(t, field, 1)
		for name, of := range field {
			found[name] = of.String()
		}
	}
	return found
}

func TestThePluginDescribesItself(t *testing.T) {
	t.Parallel()
	prefix := t.TempDir()
	d := dump(t, "-kong-prefix", prefix)
	assert.Equal(t, "ProtoBuf:1", d.Protocol)
	assert.Equal(t, filepath.Join(prefix, "onlyonce.socket"), d.SocketPath)
	of := d.Plugins[0]
	assert.Equal(t, "onlyonce", of.Name)
	assert.Equal(t, plugin.Version, of.Version)
	assert.ElementsMatch(t, []string{"access", "response", "log"}, of.Phases)
	assert.Equal(t, "onlyonce", of.Schema.Name)
	// Behind key-auth (1250), acl (950), rate-limiting (910) and response-ratelimiting (900); before request-transformer (801).
	assert.Less(t, of.Priority, 900)
	assert.Greater(t, of.Priority, 801)
	_, err := net.Dial("unix", d.SocketPath)
	assert.Error(t, err, "it listens while it only describes itself")
}

func TestTheSchemaHasTheTypesThatKongKnows(t *testing.T) {
	t.Parallel()
	assert.Equal(t, map[string]string{
		"url": "string", "token": "string", "schema": "string",
		"headers": "array of string", "required": "boolean", "methods": "array of string",
		"scope_source": "string", "scope_header": "string",
		"timeout_ms": "integer", "lease_ms": "integer", "wait_ms": "integer", "retention_s": "integer",
		"keep_statuses": "array of integer", "release_statuses": "array of integer", "unknown": "string", "unknown_statuses": "array of integer",
		"max_body": "integer", "max_response": "integer", "fingerprint_headers": "array of string", "replay_headers": "array of string",
		"allow_http2": "boolean", "canonical_json": "boolean",
	}, fields(t))
}
