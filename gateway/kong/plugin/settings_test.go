package plugin_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
)

func TestAConfigurationThatIsWrongSaysWhatToChange(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(c *plugin.Config){
		"url is missing":                         func(c *plugin.Config) { c.URL = "" },
		"a vault, which Kong does not resolve":   func(c *plugin.Config) { c.URL = "{vault://env/url}" },
		"token names a file that cannot be read": func(c *plugin.Config) { c.Token = "file:/does/not/exist" },
		"which the plugin server does not have":  func(c *plugin.Config) { c.URL = "env:ONLYONCE_TEST_NOWHERE" },
		`scope_source is "ip"`:                   func(c *plugin.Config) { c.ScopeSource = "ip" },
		"scope_header is missing":                func(c *plugin.Config) { c.ScopeSource = "header" },
		"scope_header is set":                    func(c *plugin.Config) { c.ScopeHeader = "X-Account" },
		"timeout_ms is -1":                       func(c *plugin.Config) { c.TimeoutMS = -1 },
		"lease_ms is 60999: it must be at least": func(c *plugin.Config) { c.LeaseMS = 60_999 },
		"lease_ms is 20000":                      func(c *plugin.Config) { c.LeaseMS, c.TimeoutMS = 20_000, 19_001 },
		"lease_ms is 3600001":                    func(c *plugin.Config) { c.LeaseMS = 3_600_001 },
		"give at most 3600000":                   func(c *plugin.Config) { c.TimeoutMS = 1 << 62 },
		"wait_ms is 30001":                       func(c *plugin.Config) { c.WaitMS = 30_001 },
		"wait_ms is -1":                          func(c *plugin.Config) { c.WaitMS = -1 },
		"retention_s is -1":                      func(c *plugin.Config) { c.RetentionS = -1 },
		"retention_s is 31536001":                func(c *plugin.Config) { c.RetentionS = 31_536_001 },
		"has 199":                                func(c *plugin.Config) { c.KeepStatuses = []int{199} },
		"has 600":                                func(c *plugin.Config) { c.ReleaseStatuses = []int{600} },
		"the status 500 is in two of":            func(c *plugin.Config) { c.KeepStatuses, c.ReleaseStatuses = []int{500}, []int{500} },
		"the status 504 is in two of":            func(c *plugin.Config) { c.UnknownStatuses, c.ReleaseStatuses = []int{504}, []int{504} },
		"the status 503 is in two of":            func(c *plugin.Config) { c.UnknownStatuses, c.KeepStatuses = []int{503}, []int{503} },
		"unknown_statuses has 0":                 func(c *plugin.Config) { c.UnknownStatuses = []int{0} },
		`unknown is "keep"`:                      func(c *plugin.Config) { c.Unknown = "keep" },
		"max_body and max_response must be":      func(c *plugin.Config) { c.MaxBody = -1 },
		"from 1 to 67108864 bytes":               func(c *plugin.Config) { c.MaxResponse = 64<<20 + 1 },
		`"post" on the list Methods`:             func(c *plugin.Config) { c.Methods = []string{"post"} },
		`Headers has "a b" in it`:                func(c *plugin.Config) { c.Headers = []string{"a b"} },
		"FingerprintHeaders has":                 func(c *plugin.Config) { c.FingerprintHeaders = []string{""} },
		`"Set-Cookie" must not be replayed`:      func(c *plugin.Config) { c.ReplayHeaders = []string{"set-cookie"} },
	} {
		c := &plugin.Config{URL: "memory:"}
		require.NoError(t, plugin.Check(c))
		change(c)
		require.ErrorContains(t, plugin.Check(c), says)
	}
}

func TestEverythingThatIsWrongIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	err := plugin.Check(&plugin.Config{Unknown: "x", WaitMS: -1, Methods: []string{"post"}})
	for _, says := range []string{"url is missing", "unknown is", "wait_ms is", "Methods"} {
		assert.ErrorContains(t, err, says)
	}
}

func TestAConfigurationAtItsBoundsIsTaken(t *testing.T) {
	t.Parallel()
	for _, c := range []*plugin.Config{
		{TimeoutMS: 1, LeaseMS: 1001}, {LeaseMS: 61_000}, {LeaseMS: 3_600_000, TimeoutMS: 3_599_000}, {WaitMS: 30_000}, {RetentionS: 1}, {RetentionS: 31_536_000},
		{KeepStatuses: []int{200, 599}}, {Unknown: "release"}, {Unknown: "hold"}, {MaxBody: 64 << 20, MaxResponse: 64 << 20},
	} {
		c.URL = "memory:"
		assert.NoError(t, plugin.Check(c))
	}
}

func TestAnErrorDoesNotRepeatASecret(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://u:hunter2@host:port/x", "hunter2", "ftp://u:hunter2@host"} {
		w := begin(t, &plugin.Config{Token: "hunter2"})
		w.config.URL = url
		wantProblem(t, w.do(payment()), 503, "store-unavailable")
		for _, line := range w.Logged() {
			assert.NotContains(t, line, "hunter2")
		}
		assert.NotEmpty(t, w.Logged())
	}
}

func TestAURLMayBeInAFile(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	path := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(path, []byte(w.config.URL+"\n"), 0o600))
	w.config.URL = "file:" + path
	w.do(payment())
	assert.Equal(t, completed, w.state(k1))
}

func TestAURLMayBeInTheEnvironment(t *testing.T) {
	w := begin(t, &plugin.Config{})
	t.Setenv("ONLYONCE_TEST_URL", w.config.URL)
	w.config.URL = "env:ONLYONCE_TEST_URL"
	w.Do(t, payment(), kongtest.Answers)
	assert.Equal(t, completed, w.state(k1))
}
