package proxy

import (
	"crypto/tls"
	"time"
)

// Config is a configuration file, as it was read. README.md has one with every setting and its default.
type Config struct {
	Listen      Listen      `yaml:"listen"`
	Admin       Admin       `yaml:"admin"`
	Store       StoreConfig `yaml:"store"`
	Log         Log         `yaml:"log"`
	Fingerprint Fingerprint `yaml:"fingerprint"`
	Sealing     Sealing     `yaml:"sealing"`
	// TrustForwarded keeps the X-Forwarded-* and Forwarded headers of the request, and adds to them: where another proxy stands in front.
	TrustForwarded bool `yaml:"trust_forwarded"`
	// Defaults are settings for all routes that do not have their own.
	Defaults Settings `yaml:"defaults"`
	Routes   []Route  `yaml:"routes"`

	routes []route // checked, with defaults
	shared shared
}

// Listen is where clients are served. A change of it needs a restart.
type Listen struct {
	Address string        `yaml:"address"`
	H2C     bool          `yaml:"h2c"`
	Grace   time.Duration `yaml:"grace"`
	TLS     ListenTLS     `yaml:"tls"`
}

// ListenTLS are PEM files, which are read again when they change.
type ListenTLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// ClientCA has the authorities of clients' certificates. Clients without one are let in where ClientsMayHaveNone is set, and refused by routes
	// whose scope is the certificate.
	ClientCA           string `yaml:"client_ca"`
	ClientsMayHaveNone bool   `yaml:"clients_may_have_none"`
}

// Admin is where operators are served: /healthz, /readyz, /metrics. A change of it needs a restart.
type Admin struct {
	Address string `yaml:"address"`
}

// StoreConfig is what lends keys. A change of it needs a restart.
type StoreConfig struct {
	URL          text          `yaml:"url"`
	URLFile      string        `yaml:"url_file"`
	Schema       string        `yaml:"schema"`
	BehindPooler bool          `yaml:"behind_pooler"`
	Prefix       string        `yaml:"prefix"`
	Replicas     int           `yaml:"replicas"`
	TokenFile    string        `yaml:"token_file"`
	TLS          UpstreamTLS   `yaml:"tls"`
	Timeout      time.Duration `yaml:"timeout"`
	// Reap is the time between two passes that delete what is over.
	Reap time.Duration `yaml:"reap"`

	token string
	tls   *tls.Config
}

// Log is how the program logs. A change of Format and Level needs a restart.
type Log struct {
	Format string `yaml:"format"`
	Level  string `yaml:"level"`
	Access *bool  `yaml:"access"`
}

// Fingerprint says by which secrets requests are told apart: without one, whoever reads the store can guess bodies.
type Fingerprint struct {
	// SecretFiles hold a secret each. The first signs, all verify.
	SecretFiles []string `yaml:"secret_files"`
}

// Sealing has responses stored sealed.
type Sealing struct {
	// KeysFile holds keys as seal.ParseKeys reads them: "id:base64,id:base64", the first is current.
	KeysFile string `yaml:"keys_file"`
	// Mixed reads records that are not sealed as well, while sealing is introduced.
	Mixed bool `yaml:"mixed"`
}

// Route is what happens to the requests that a pattern matches.
type Route struct {
	// Patterns are those of http.ServeMux: "POST /v1/payments", "api.example.com/v1/", "/files/{path...}".
	Patterns []string `yaml:"patterns"`
	Settings `yaml:",inline"`
}

// Settings are those of a route, or the defaults of all. nil is not set.
type Settings struct {
	Upstream           *text          `yaml:"upstream"`
	UpstreamProtocol   *string        `yaml:"upstream_protocol"`
	UpstreamTLS        *UpstreamTLS   `yaml:"upstream_tls"`
	Host               *string        `yaml:"host"`
	Protect            *string        `yaml:"protect"`
	Scope              *Scope         `yaml:"scope"`
	KeyHeaders         []string       `yaml:"key_headers"`
	KeyFormat          *string        `yaml:"key_format"`
	MinKeyLength       *int           `yaml:"min_key_length"`
	Methods            []string       `yaml:"methods"`
	Timeout            *time.Duration `yaml:"timeout"`
	ConnectTimeout     *time.Duration `yaml:"connect_timeout"`
	Lease              *time.Duration `yaml:"lease"`
	Wait               *time.Duration `yaml:"wait"`
	Retention          *time.Duration `yaml:"retention"`
	Remember           *time.Duration `yaml:"remember"`
	Keep               []statuses     `yaml:"keep"`
	Release            []statuses     `yaml:"release"`
	UnknownStatuses    []statuses     `yaml:"unknown_statuses"`
	Unknown            *Unknown       `yaml:"unknown"`
	MaxRequestBytes    *size          `yaml:"max_request_bytes"`
	MaxResponseBytes   *size          `yaml:"max_response_bytes"`
	FingerprintHeaders []string       `yaml:"fingerprint_headers"`
	CanonicalJSON      *bool          `yaml:"canonical_json"`
	ReplayHeaders      []string       `yaml:"replay_headers"`
	AttemptHeader      *string        `yaml:"attempt_header"`
	Connections        *string        `yaml:"connections"`
	IdleTimeout        *time.Duration `yaml:"idle_timeout"`
}

// UpstreamTLS are PEM files for servers that are asked by TLS: whom to trust, and what to show.
type UpstreamTLS struct {
	CA          string `yaml:"ca"`
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	ServerName  string `yaml:"server_name"`
}

// Scope says whose a key is.
type Scope struct {
	// From is header, credential, client_certificate or shared.
	From string `yaml:"from"`
	// Header names the header, where From is header. Whoever authenticates in front of the proxy must set it, and must take it off requests that
	// bring their own: otherwise a caller chooses whose answers it gets.
	Header string `yaml:"header"`
}

// Unknown says what becomes of a key whose request was sent, and whose outcome nobody knows.
type Unknown string

const (
	// Hold leaves the key to its lease: retries are told to wait until then.
	Hold Unknown = "hold"
	// Release frees the key at once: for upstreams where doing it twice is harmless, or which tell attempts apart themselves.
	Release Unknown = "release"
)

// Token is what TokenFile holds.
func (s StoreConfig) Token() string { return s.token }

// Trust is what the files of TLS make, or nil where there are none.
func (s StoreConfig) Trust() *tls.Config { return s.tls }
