package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/seal"
)

// What a route without a setting has.
const (
	defaultTimeout        = 30 * time.Second
	defaultConnectTimeout = 5 * time.Second
	// leaseMargin is what a lease has beyond the time-out: for the store to be told of the outcome.
	leaseMargin, leastMargin = 5 * time.Second, time.Second
	defaultRetention         = 24 * time.Hour
	defaultBytes             = size(1 << 20)
	leastResponseBytes       = size(1 << 10)
	mostBytes                = size(64 << 20)
	// defaultIdle is below what upstreams allow a connection to idle (5 seconds with Node.js, more elsewhere): see README.md.
	defaultIdle         = 2 * time.Second
	defaultAttempt      = "Idempotency-Attempt"
	defaultReap         = time.Minute
	defaultStoreTimeout = 5 * time.Second
)

// route is a Route with everything decided.
type route struct {
	patterns []string
	upstream *url.URL
	http2    bool
	trust    UpstreamTLS
	tls      *tls.Config
	preserve bool // Host

	protect            string
	scope              Scope
	keyHeaders         []string
	uuidOnly           bool
	minKeyLength       int
	methods            []string
	timeout, connect   time.Duration
	lease, wait        time.Duration
	retention          time.Duration
	remember           time.Duration
	keep, release      []statuses
	unknownStatuses    []statuses
	unknown            Unknown
	maxRequest         size
	maxResponse        size
	fingerprintHeaders []string
	canonicalJSON      bool
	replayHeaders      []string
	attemptHeader      string
	fresh              bool // connections
	idle               time.Duration
}

// shared is what all routes have in common, read from files.
type shared struct {
	secrets [][]byte
	box     idempotency.Sealer
	sealing idempotency.Sealing
}

func or[T any](set, otherwise *T, def T) T {
	switch {
	case set != nil:
		return *set
	case otherwise != nil:
		return *otherwise
	}
	return def
}

func orList[T any](set, otherwise []T) []T {
	if set != nil {
		return set
	}
	return otherwise
}

// checker collects what is wrong.
type checker struct {
	Problems
	where string
}

func (c *checker) wrong(format string, args ...any) {
	c.Problems = append(c.Problems, c.where+fmt.Sprintf(format, args...))
}

func (c *checker) oneOf(setting, value string, values ...string) {
	if !slices.Contains(values, value) {
		c.wrong("%s is %q: give %s", setting, value, strings.Join(values, " or "))
	}
}

func (c *checker) between(setting string, value, least, most time.Duration) {
	if value < least || value > most {
		c.wrong("%s is %v: give %v to %v", setting, value, least, most)
	}
}

// check decides everything, and returns what cannot be decided.
func (config *Config) check() Problems {
	c := &checker{}
	config.checkServers(c)
	config.checkStore(c)
	config.checkSecrets(c)
	if len(config.Routes) == 0 {
		c.wrong("routes is empty: give at least one")
	}
	for i := range config.Routes {
		name := "no pattern"
		if patterns := config.Routes[i].Patterns; len(patterns) > 0 {
			name = patterns[0]
		}
		c.where = fmt.Sprintf("route %d (%s): ", i+1, name)
		config.routes = append(config.routes, c.route(config, &config.Routes[i]))
	}
	c.where = ""
	config.checkGrace(c)
	config.checkPatterns(c)
	return c.Problems
}

func (config *Config) checkServers(c *checker) {
	listen := &config.Listen
	if listen.Address == "" {
		listen.Address = ":8080"
	}
	if listen.Grace == 0 {
		listen.Grace = time.Minute
	}
	c.between("listen.grace", listen.Grace, time.Millisecond, time.Hour)
	if (listen.TLS.Certificate == "") != (listen.TLS.Key == "") || listen.TLS.ClientCA != "" && listen.TLS.Certificate == "" {
		c.wrong("listen.tls needs certificate and key, both of them")
	}
	if listen.H2C && listen.TLS.Certificate != "" {
		c.wrong("listen.h2c is for plain text: take it out, clients get HTTP/2 by TLS")
	}
	if config.Admin.Address == "" {
		config.Admin.Address = "127.0.0.1:9090"
	}
	c.addresses(listen.Address, config.Admin.Address)
	if config.Log.Format == "" {
		config.Log.Format = "json"
	}
	c.oneOf("log.format", config.Log.Format, "json", "text")
	if config.Log.Level == "" {
		config.Log.Level = "info"
	}
	c.oneOf("log.level", config.Log.Level, "debug", "info", "warn", "error")
}

func (c *checker) addresses(clients, admin string) {
	for name, address := range map[string]string{"listen.address": clients, "admin.address": admin} {
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			c.wrong("%s is %q: give host:port, or :port", name, address)
		}
	}
	if clients == admin && !strings.HasSuffix(clients, ":0") {
		c.wrong("listen.address and admin.address are both %q: what is for operators is not for clients", clients)
	}
}

func (config *Config) checkStore(c *checker) {
	store := &config.Store
	switch {
	case (store.URL == "") == (store.URLFile == ""):
		c.wrong("store needs url or url_file, and not both")
	case store.URLFile != "":
		content, err := secret(store.URLFile)
		if err != nil {
			c.wrong("store.url_file: %v", err)
		}
		store.URL = text(content)
	}
	if store.TokenFile != "" {
		var err error
		if store.token, err = secret(store.TokenFile); err != nil {
			c.wrong("store.token_file: %v", err)
		}
	}
	if store.TLS != (UpstreamTLS{}) {
		var err error
		if store.tls, err = store.TLS.trusting(); err != nil {
			c.wrong("store.tls: %v", err)
		}
	}
	store.Timeout = or(nonZero(store.Timeout), nil, defaultStoreTimeout)
	store.Reap = or(nonZero(store.Reap), nil, defaultReap)
	c.between("store.timeout", store.Timeout, 10*time.Millisecond, time.Minute)
	c.between("store.reap", store.Reap, time.Second, time.Hour)
	if store.Replicas < 0 {
		c.wrong("store.replicas is negative")
	}
}

// checkGrace refuses an end of the program that cuts requests off which are in time: what becomes of them would be unknown.
func (config *Config) checkGrace(c *checker) {
	for i, r := range config.routes {
		if r.protect != "off" && len(r.patterns) > 0 && config.Listen.Grace < r.timeout {
			c.wrong("listen.grace is %v: give at least the timeout of route %d (%s), which is %v", config.Listen.Grace, i+1, r.patterns[0], r.timeout)
		}
	}
}

func nonZero[T comparable](value T) *T {
	if value == *new(T) {
		return nil
	}
	return &value
}

func (config *Config) checkSecrets(c *checker) {
	for _, name := range config.Fingerprint.SecretFiles {
		content, err := secret(name)
		switch {
		case err != nil:
			c.wrong("fingerprint.secret_files: %v", err)
		case len(content) < 16:
			c.wrong("fingerprint.secret_files: %s has less than 16 bytes", name)
		default:
			config.shared.secrets = append(config.shared.secrets, []byte(content))
		}
	}
	if config.Sealing.KeysFile == "" {
		if config.Sealing.Mixed {
			c.wrong("sealing.mixed needs sealing.keys_file")
		}
		return
	}
	content, err := secret(config.Sealing.KeysFile)
	if err != nil {
		c.wrong("sealing.keys_file: %v", err)
		return
	}
	keys, err := seal.ParseKeys(content)
	if err != nil {
		c.wrong("sealing.keys_file: %v", err)
		return
	}
	box, err := seal.New(keys)
	if err != nil {
		c.wrong("sealing.keys_file: %v", err)
		return
	}
	config.shared.box = box
	if config.Sealing.Mixed {
		config.shared.sealing = idempotency.SealedAndPlain
	}
}

// checkPatterns has http.ServeMux say whether the patterns can stand beside each other.
func (config *Config) checkPatterns(c *checker) {
	mux := http.NewServeMux()
	for i, r := range config.routes {
		for _, pattern := range r.patterns {
			if err := register(mux, pattern, http.NotFoundHandler()); err != nil {
				c.wrong("route %d (%s): %v", i+1, pattern, err)
			}
		}
	}
}

// registered is where in the program, which says nothing to the file's author.
var registered = regexp.MustCompile(` \(registered at [^)]*\)`)

// register is mux.Handle with an error in place of a panic.
func register(mux *http.ServeMux, pattern string, handler http.Handler) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			text := registered.ReplaceAllString(fmt.Sprint(reason), "")
			err = fmt.Errorf("the pattern cannot be used: %s", strings.Join(strings.Fields(text), " "))
		}
	}()
	mux.Handle(pattern, handler)
	return nil
}

// trusting is the TLS configuration that files make.
func (t UpstreamTLS) trusting() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("the authority cannot be read: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", t.CA)
		}
	}
	if t.Certificate != "" || t.Key != "" {
		certificate, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate and key cannot be used: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}
