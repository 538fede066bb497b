package plugin

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// settings are a Config, checked and ready.
type settings struct {
	place       place
	edge        *httpidem.Edge
	scope       scope
	timeout     time.Duration
	lease       time.Duration
	wait        time.Duration
	retention   time.Duration
	keep        []int
	release     []int
	unknown     []int
	hold        bool // what becomes of a key whose outcome is unknown
	maxResponse int
	http2       bool
}

const (
	defaultTimeout     = 60 * time.Second
	defaultMargin      = 5 * time.Second
	leastMargin        = time.Second
	longestLease       = time.Hour
	longestWait        = 30 * time.Second
	defaultRetention   = 24 * time.Hour
	longestRetention   = 365 * 24 * time.Hour
	defaultMaxResponse = 1 << 20
	longestBody        = 64 << 20
)

// check lists everything that is wrong with the configuration at once.
func (c *Config) check() (*settings, error) {
	var wrong []error
	refuse := func(format string, values ...any) { wrong = append(wrong, fmt.Errorf(format, values...)) }
	s := &settings{keep: c.KeepStatuses, release: c.ReleaseStatuses, unknown: c.UnknownStatuses, http2: c.AllowHTTP2}

	s.place = place{url: c.secret("url", c.URL, refuse), token: c.secret("token", c.Token, refuse), schema: c.Schema}
	if c.URL == "" {
		refuse("url is missing: give where keys are kept, postgres://…, redis://… or https://… of an onlyonced")
	}
	s.scope = scope{source: c.ScopeSource, header: http.CanonicalHeaderKey(c.ScopeHeader)}
	if err := s.scope.check(); err != nil {
		wrong = append(wrong, err)
	}

	timeout := duration(c.TimeoutMS, time.Millisecond, defaultTimeout)
	s.timeout = timeout
	s.lease = duration(c.LeaseMS, time.Millisecond, timeout+defaultMargin)
	s.wait = duration(c.WaitMS, time.Millisecond, 0)
	s.retention = duration(c.RetentionS, time.Second, defaultRetention)
	if timeout <= 0 {
		refuse("timeout_ms is %d: give how long the service may take in all, retries included", c.TimeoutMS)
	}
	if s.lease < timeout+leastMargin {
		refuse("lease_ms is %d: it must be at least timeout_ms and a second more, %d, or a key could be claimed again while the service works",
			s.lease.Milliseconds(), (timeout + leastMargin).Milliseconds())
	}
	if s.lease > longestLease {
		refuse("lease_ms is %d: give at most %d; for that long a key can stay pending", s.lease.Milliseconds(), longestLease.Milliseconds())
	}
	if s.wait < 0 || s.wait > longestWait {
		refuse("wait_ms is %d: give 0 to %d", c.WaitMS, longestWait.Milliseconds())
	}
	if s.retention < time.Second || s.retention > longestRetention {
		refuse("retention_s is %d: give 1 to %d", c.RetentionS, int(longestRetention.Seconds()))
	}

	for _, status := range slices.Concat(c.KeepStatuses, c.ReleaseStatuses, c.UnknownStatuses) {
		if status < 200 || status > 599 {
			refuse("keep_statuses, release_statuses or unknown_statuses has %d: give statuses from 200 to 599", status)
		}
	}
	for _, lists := range [][2][]int{{c.KeepStatuses, c.ReleaseStatuses}, {c.KeepStatuses, c.UnknownStatuses}, {c.ReleaseStatuses, c.UnknownStatuses}} {
		for _, status := range lists[0] {
			if slices.Contains(lists[1], status) {
				refuse("the status %d is in two of keep_statuses, release_statuses and unknown_statuses: leave it in one", status)
			}
		}
	}
	switch c.Unknown {
	case "", "hold":
		s.hold = true
	case "release":
	default:
		refuse("unknown is %q: give hold (the default), or release", c.Unknown)
	}

	s.maxResponse = c.MaxResponse
	if s.maxResponse == 0 {
		s.maxResponse = defaultMaxResponse
	}
	if c.MaxBody < 0 || c.MaxBody > longestBody || s.maxResponse < 0 || s.maxResponse > longestBody {
		refuse("max_body and max_response must be from 1 to %d bytes, or 0 for the default", longestBody)
	}
	fingerprinter, err := idempotency.NewFingerprinter(idempotency.FingerprintConfig{CanonicalJSON: c.CanonicalJSON})
	if err != nil {
		wrong = append(wrong, err)
	}
	edge, err := httpidem.NewEdge(httpidem.Options{
		Headers:            c.Headers,
		Optional:           c.Required != nil && !*c.Required,
		Methods:            c.Methods,
		MaxRequestBytes:    max(c.MaxBody, 0),
		Fingerprinter:      fingerprinter,
		FingerprintHeaders: c.FingerprintHeaders,
		ReplayHeaders:      c.ReplayHeaders,
	})
	if err != nil {
		wrong = append(wrong, err)
	}
	s.edge = edge
	if len(wrong) > 0 {
		return nil, fmt.Errorf("onlyonce: the plugin's configuration is wrong, and protected requests are answered by 500 until it is put right:\n%w",
			errors.Join(wrong...))
	}
	return s, nil
}

func duration(value int, unit, otherwise time.Duration) time.Duration {
	if value == 0 {
		return otherwise
	}
	if value > int(longestRetention/unit) { // it would overflow, and is refused by whoever bounds it
		value = int(longestRetention/unit) + 1
	}
	return time.Duration(value) * unit
}

// secret returns value, or what it refers to: a plugin outside of Kong does not get Kong's vault references resolved, since it cannot mark a field
// as referenceable.
func (c *Config) secret(field, value string, refuse func(string, ...any)) string {
	if strings.HasPrefix(value, "{vault:") {
		refuse("%s is a reference to a vault, which Kong does not resolve for plugins outside of it: give file:/path or env:NAME", field)
		return ""
	}
	if name, found := strings.CutPrefix(value, "env:"); found {
		text, set := os.LookupEnv(name)
		if !set || text == "" {
			refuse("%s names the environment variable %q, which the plugin server does not have: nginx passes on only what nginx_main_env names", field, name)
		}
		return text
	}
	if path, found := strings.CutPrefix(value, "file:"); found {
		text, err := os.ReadFile(path)
		if err != nil {
			refuse("%s names a file that cannot be read: %w", field, err)
		}
		return strings.TrimSpace(string(text))
	}
	return value
}

// outcome decides what a response of the service means for its key.
func (s *settings) outcome(response idempotency.Response) idempotency.Outcome {
	switch {
	case slices.Contains(s.keep, response.Status):
		return idempotency.Complete
	case slices.Contains(s.release, response.Status):
		return idempotency.Release
	}
	return idempotency.DefaultPolicy(response, nil)
}
