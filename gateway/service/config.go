package service

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Config configures [New], which copies it. Who may call has to be said, by Callers, AnyCertificate or Anonymous; the rest may be left out.
type Config struct {
	// Callers are who may call, and with which scopes.
	Callers []Caller
	// AnyCertificate lets in whoever has shown a certificate that the TLS server has verified, with every scope.
	AnyCertificate bool
	// Anonymous lets everybody in who says nothing about who it is, with every scope: for a network where nobody else can come.
	Anonymous bool

	// Lease is how long a key is lent where the request does not say. Default: 30 seconds.
	Lease time.Duration
	// MaxLease is the longest lease that may be asked for: how long a caller that died can block a key. Default: 1 hour.
	MaxLease time.Duration
	// Retention is how long a response is kept where the request does not say. Default: 24 hours.
	Retention time.Duration
	// MaxRetention is the longest retention, and the longest time to remember a loan that nobody ended, that may be asked for. Default: 30 days.
	MaxRetention time.Duration
	// MaxRequestBytes bounds the body of a request: a response in it, in base64 that is a third longer. Default: 4 MiB.
	MaxRequestBytes int
	// Timeout bounds what is asked of the store for one request. A client that hangs up does not end it. Default: 20 seconds.
	Timeout time.Duration
	// Fingerprinter makes what is kept of the callers' fingerprints. Default: plain SHA-256. One with secrets keeps who reads the
	// table from guessing them.
	Fingerprinter *idempotency.Fingerprinter

	// Registerer gets the metrics. Default: nobody does.
	Registerer prometheus.Registerer
	// Logger is told of what an operator should know: failures of the store, by their codes. Default: nobody is.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	var wrong []error
	for _, setting := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"Lease", &c.Lease, 30 * time.Second},
		{"MaxLease", &c.MaxLease, time.Hour},
		{"Retention", &c.Retention, 24 * time.Hour},
		{"MaxRetention", &c.MaxRetention, 30 * 24 * time.Hour},
		{"Timeout", &c.Timeout, 20 * time.Second},
	} {
		*setting.value = cmp.Or(*setting.value, setting.def)
		if *setting.value < time.Millisecond {
			wrong = append(wrong, fmt.Errorf("service: Config.%s is %v: give a millisecond or more, or 0 for the default", setting.name, *setting.value))
		}
	}
	c.MaxRequestBytes = cmp.Or(c.MaxRequestBytes, 4<<20)
	if c.MaxRequestBytes < 0 {
		wrong = append(wrong, fmt.Errorf("service: Config.MaxRequestBytes is %d: give a positive number, or 0 for the default", c.MaxRequestBytes))
	}
	if c.Lease > c.MaxLease || c.Retention > c.MaxRetention {
		wrong = append(wrong, errors.New("service: Config.Lease and Config.Retention must not be longer than Config.MaxLease and Config.MaxRetention"))
	}
	if len(c.Callers) == 0 && !c.AnyCertificate && !c.Anonymous {
		wrong = append(wrong, errors.New("service: nobody may call: give Config.Callers, or set Config.AnyCertificate or Config.Anonymous"))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(wrong...)
}
