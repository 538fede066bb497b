package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
)

// declared is what there is in kong.yml; what is not here is an error.
type declared struct {
	Version  string `yaml:"_format_version"`
	Services []struct {
		Name, URL      string
		Retries        int
		ConnectTimeout int `yaml:"connect_timeout"`
		WriteTimeout   int `yaml:"write_timeout"`
		ReadTimeout    int `yaml:"read_timeout"`
		Routes         []struct {
			Name             string
			Paths, Protocols []string
			StripPath        bool `yaml:"strip_path"`
		}
		Plugins []struct {
			Name   string
			Config map[string]any
		}
	}
	Consumers []struct {
		Username    string
		Credentials []map[string]string `yaml:"keyauth_credentials"`
	}
}

func TestTheDeclarativeConfigurationIsOneThatThePluginTakes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("kong.yml")
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var d declared
	require.NoError(t, decoder.Decode(&d))
	assert.Equal(t, "3.0", d.Version)

	known, found := fields(t), 0
	for _, service := range d.Services {
		for _, of := range service.Plugins {
			if of.Name != "onlyonce" {
				continue
			}
			found++
			for name, value := range of.Config {
				assert.Contains(t, known, name)
				assert.Equal(t, known[name], kongType(value), name)
			}
			encoded, err := json.Marshal(of.Config)
			require.NoError(t, err)
			config := &plugin.Config{}
			require.NoError(t, json.Unmarshal(encoded, config))
			assert.Zero(t, service.Retries, "what Kong sends again, the plugin does not see")
			assert.LessOrEqual(t, service.ConnectTimeout+service.WriteTimeout+service.ReadTimeout, config.TimeoutMS)

			of.Config["url"] = "memory:"
			kong := &kongtest.Kong{
				Dial:    kongtest.Start(t, binary(t)).Configure(of.Config).Dial,
				Service: func(kongtest.Request) kongtest.Answer { return kongtest.Answer{Status: 201} },
			}
			assert.True(t, kong.Do(t, payment("k"), kongtest.Answers).Passed, kong.Logged())
			assert.False(t, kong.Do(t, payment("k"), kongtest.Answers).Passed)
		}
	}
	assert.Equal(t, 1, found)
}

func kongType(value any) string {
	switch v := value.(type) {
	case string:
		return "string"
	case int:
		return "integer"
	case bool:
		return "boolean"
	case []any:
		return "array of " + kongType(v[0])
	}
	return "unknown"
}

// A row of the README's table: | `name` | type | default | what it does |
var row = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([a-z ]+) \\|")

func TestTheREADMEHasEveryFieldOfTheConfigurationAndNoOther(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	documented := map[string]string{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		documented[match[1]] = match[2]
	}
	assert.Equal(t, fields(t), documented)
	for _, environment := range []string{"KONG_PLUGINSERVER_NAMES", "KONG_PLUGINSERVER_ONLYONCE_START_CMD", "KONG_PLUGINSERVER_ONLYONCE_QUERY_CMD"} {
		assert.True(t, strings.Contains(string(text), environment), environment)
	}
}
