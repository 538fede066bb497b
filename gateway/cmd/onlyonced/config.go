package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/gateway/internal/serve"
	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
)

// config is everything that can be set from outside.
type config struct {
	check, migrate bool

	store        string
	storeFile    string
	storeToken   string
	backend      backend.Options
	listen       string
	admin        string
	h2c          bool
	tls          serve.Files
	tokens       string
	certificates string
	insecure     bool
	secrets      string
	service      service.Config
	reapInterval time.Duration
	shutdown     time.Duration
	logLevel     slog.Level
	logFormat    string
}

func (c *config) flags() *flag.FlagSet {
	f := flag.NewFlagSet("onlyonced", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.StringVar(&c.store, "store", "", "`URL` of what keeps the keys: "+backend.Forms)
	f.StringVar(&c.storeFile, "store-file", "", "`file` whose first line is that URL, so that no list of processes shows its password")
	f.StringVar(&c.storeToken, "store-token", "", "`file` whose first line is the bearer token for a store that is another onlyonced")
	f.StringVar(&c.backend.Schema, "schema", "", "PostgreSQL: `schema` of the table; empty leaves it to the search_path")
	f.BoolVar(&c.backend.BehindPooler, "behind-pooler", false, "PostgreSQL: PgBouncer stands in front")
	f.StringVar(&c.backend.Prefix, "prefix", "", "Redis: `prefix` of every key (default onlyonce)")
	f.IntVar(&c.backend.Replicas, "replicas", 0, "Redis: `number` of replicas that must have a claim and a completion")
	f.BoolVar(&c.backend.AnyPersistence, "any-persistence", false, "Redis: do not look at how the server keeps its data")

	f.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`host:port` of the service; port 0 takes a free one")
	f.StringVar(&c.admin, "admin", "127.0.0.1:9090",
		"`host:port` of /healthz, /readyz and /metrics, which ask nobody who they are; empty: none; that of -listen: beside the service")
	f.BoolVar(&c.h2c, "h2c", false, "take HTTP/2 in plain text, too; by TLS it is spoken anyway")
	f.StringVar(&c.tls.Certificate, "tls-cert", "", "PEM `file` of the server's certificate; it is read again when it changes")
	f.StringVar(&c.tls.Key, "tls-key", "", "PEM `file` of its key")
	f.StringVar(&c.tls.ClientCA, "client-ca", "", "PEM `file` of the authorities whose clients are let in: then nobody else is")
	f.StringVar(&c.tokens, "tokens", "", "`file` of bearer tokens: one a line, and after it the scopes that it may use, if not all")
	f.StringVar(&c.certificates, "certificates", "",
		"`file` of names of client certificates, as -tokens; without it and -tokens every certificate of -client-ca may use every scope")
	f.BoolVar(&c.insecure, "insecure", false, "serve whoever comes, without -tokens and -client-ca")

	f.DurationVar(&c.service.Lease, "lease", 30*time.Second, "how long a key is lent where the request does not say")
	f.DurationVar(&c.service.MaxLease, "max-lease", time.Hour, "the longest lease that may be asked for")
	f.DurationVar(&c.service.Retention, "retention", 24*time.Hour, "how long a response is kept where the request does not say")
	f.DurationVar(&c.service.MaxRetention, "max-retention", 30*24*time.Hour, "the longest retention that may be asked for")
	f.IntVar(&c.service.MaxRequestBytes, "max-request-bytes", 4<<20, "the largest `size` of a request")
	f.StringVar(&c.secrets, "fingerprint-secrets", "",
		"`file` of secrets, one a line of 16 bytes or more: fingerprints are kept as HMACs by the first one, and compared by all")
	f.DurationVar(&c.reapInterval, "reap-interval", time.Minute, "time between two passes of deleting what is over")
	f.DurationVar(&c.shutdown, "shutdown-timeout", 30*time.Second, "how long requests may take to end after SIGTERM")
	f.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "`level` debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "text", "`format` text or json")
	f.BoolVar(&c.check, "check", false, "look whether this configuration and the store can be used, say so, and end")
	f.BoolVar(&c.migrate, "migrate", false, "create or update the table in PostgreSQL, and end")
	return f
}

// variable is the environment variable of a flag.
func variable(name string) string {
	return "ONLYONCED_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// parse reads flags and environment; a flag wins. For -h it prints the explanation to help and returns flag.ErrHelp. Errors hold no value that
// may be a secret.
func parse(args []string, getenv func(string) string, help io.Writer) (*config, error) {
	c := &config{}
	flags := c.flags()
	var wrong error
	flags.VisitAll(func(f *flag.Flag) {
		if value := getenv(variable(f.Name)); value != "" && flags.Set(f.Name, value) != nil && wrong == nil {
			wrong = fmt.Errorf("%s cannot be used: give what -%s takes", variable(f.Name), f.Name)
		}
	})
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(help, usage)
		flags.SetOutput(help)
		flags.PrintDefaults()
	}
	if err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, errors.New("there are words after the flags: everything is set by flags")
	}
	if wrong != nil {
		return nil, wrong
	}
	return c, c.complete()
}

// complete reads the files that are named, but those of TLS, and says what does not fit together.
func (c *config) complete() error {
	if (c.store == "") == (c.storeFile == "") {
		return errors.New("say what keeps the keys, by either -store or -store-file: " + backend.Forms)
	}
	if c.storeFile != "" {
		var err error
		if c.store, err = firstLine(c.storeFile); err != nil {
			return fmt.Errorf("-store-file: %w", err)
		}
	}
	if c.storeToken != "" {
		var err error
		if c.backend.Token, err = firstLine(c.storeToken); err != nil {
			return fmt.Errorf("-store-token: %w", err)
		}
		if !strings.HasPrefix(c.store, "http://") && !strings.HasPrefix(c.store, "https://") {
			return errors.New("-store-token is for a store that is another onlyonced: take it off, or give that one's https:// URL")
		}
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		return errors.New("-log-format must be text or json")
	}
	if c.reapInterval < time.Second || c.shutdown < time.Millisecond {
		return errors.New("-reap-interval must be 1s or more, and -shutdown-timeout positive")
	}
	if c.migrate {
		return nil // which serves nobody
	}
	if err := c.access(); err != nil {
		return err
	}
	return c.fingerprints()
}

func firstLine(name string) (string, error) {
	text, err := os.ReadFile(name)
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(first), err
}

// access says who may call.
func (c *config) access() error {
	if c.tls.ClientCA == "" && c.certificates != "" {
		return errors.New("-certificates names clients that -client-ca lets in: give that, too")
	}
	if c.tls.ClientCA != "" && (c.tls.Certificate == "" || c.tls.Key == "") {
		return errors.New("-client-ca needs TLS: give -tls-cert and -tls-key, too")
	}
	secured := c.tokens != "" || c.tls.ClientCA != ""
	if c.insecure == secured {
		if secured {
			return errors.New("-insecure lets everybody in, and -tokens or -client-ca some: give one of them")
		}
		return errors.New("nobody could be told from anybody else: give -tokens, or -client-ca for mutual TLS; or -insecure, where nobody else can reach this address")
	}
	c.service.Anonymous = c.insecure
	c.service.AnyCertificate = c.tls.ClientCA != "" && c.tokens == "" && c.certificates == ""
	if c.tokens != "" {
		text, err := os.ReadFile(c.tokens)
		if err == nil {
			c.service.Callers, err = service.ParseCallers(string(text))
		}
		if err != nil {
			return fmt.Errorf("-tokens: %w", err)
		}
	}
	if c.certificates != "" {
		text, err := os.ReadFile(c.certificates)
		if err != nil {
			return fmt.Errorf("-certificates: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
				c.service.Callers = append(c.service.Callers, service.Caller{Certificate: fields[0], Scopes: fields[1:]})
			}
		}
	}
	return nil
}

func (c *config) fingerprints() error {
	if c.secrets == "" {
		return nil
	}
	text, err := os.ReadFile(c.secrets)
	if err != nil {
		return fmt.Errorf("-fingerprint-secrets: %w", err)
	}
	var secrets [][]byte
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			secrets = append(secrets, []byte(line))
		}
	}
	if len(secrets) == 0 {
		return errors.New("-fingerprint-secrets: the file is empty: write a secret a line, by openssl rand -hex 32")
	}
	c.service.Fingerprinter, err = idempotency.NewFingerprinter(idempotency.FingerprintConfig{Secrets: secrets})
	return err
}

func (c *config) logger(out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.logLevel}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
