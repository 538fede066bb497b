package plugin

import (
	"sync"

	"github.com/Kong/go-pdk"
)

// Version is the plugin's version, and Priority its place among Kong's plugins: behind those that authenticate (1000 and above), authorize (950)
// and limit rates (900 to 910), before those that change the request (request-transformer, 801).
const (
	Version  = "0.1.0"
	Priority = 890
)

// Config is the plugin's configuration. Kong learns its fields and their types from the struct (a tag "json" is a name and nothing else), and no
// defaults or rules: what a field that is left out stands for, and what is refused, is in settings.go.
type Config struct {
	// URL is where keys are kept; "file:/path" or "env:NAME" reads it from there.
	URL string `json:"url"`
	// Token is the bearer token for a service; "file:/path" or "env:NAME" reads it from there.
	Token  string `json:"token"`
	Schema string `json:"schema"`

	Headers  []string `json:"headers"`
	Required *bool    `json:"required"`
	Methods  []string `json:"methods"`

	ScopeSource string `json:"scope_source"`
	ScopeHeader string `json:"scope_header"`

	TimeoutMS  int `json:"timeout_ms"`
	LeaseMS    int `json:"lease_ms"`
	WaitMS     int `json:"wait_ms"`
	RetentionS int `json:"retention_s"`

	KeepStatuses    []int  `json:"keep_statuses"`
	ReleaseStatuses []int  `json:"release_statuses"`
	UnknownStatuses []int  `json:"unknown_statuses"`
	Unknown         string `json:"unknown"`

	MaxBody            int      `json:"max_body"`
	MaxResponse        int      `json:"max_response"`
	FingerprintHeaders []string `json:"fingerprint_headers"`
	CanonicalJSON      bool     `json:"canonical_json"`
	ReplayHeaders      []string `json:"replay_headers"`

	AllowHTTP2 bool `json:"allow_http2"`

	advise  sync.Once
	once    sync.Once
	checked *settings
	wrong   error
}

// New is what Kong's plugin server makes configurations with, also while it only describes itself: it opens nothing.
func New() any { return &Config{} }

// Access claims the key of a request, or answers it.
func (c *Config) Access(kong *pdk.PDK) {
	defer recoverAccess(kong)
	(&exchange{kong: kong, config: c}).access()
}

// Response stores or frees what this request has claimed. Its being here has Kong buffer the service's response.
func (c *Config) Response(kong *pdk.PDK) {
	defer recoverLater(kong, "response")
	(&exchange{kong: kong, config: c}).response()
}

// Log resolves what this request has claimed and no Response has settled.
func (c *Config) Log(kong *pdk.PDK) {
	defer recoverLater(kong, "log")
	(&exchange{kong: kong, config: c}).log()
}

// settings checks the configuration the first time. Kong has no hook by which a plugin outside of it could refuse one.
func (c *Config) settings() (*settings, error) {
	c.once.Do(func() { c.checked, c.wrong = c.check() })
	return c.checked, c.wrong
}
