package proxy

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
)

// noLeaser stands for a store while nothing is asked of it.
type noLeaser struct{ idempotency.Leaser }

// Describe writes what each route will do, for people to read. The error is [Problems] that only show when the routes are put together.
func (config *Config) Describe(to io.Writer) error {
	if _, err := build(config, noLeaser{}); err != nil {
		return err
	}
	var text strings.Builder
	for i := range config.routes {
		config.routes[i].describe(&text)
	}
	_, err := io.WriteString(to, text.String())
	return err
}

func (r *route) describe(to *strings.Builder) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(to, "  "+format+"\n", args...) }
	_, _ = fmt.Fprintf(to, "%s\n", strings.Join(r.patterns, ", "))
	say("goes to %s", r.upstream)
	if r.protect == "off" {
		say("is not protected: requests pass through as they are")
		return
	}
	if r.protect == "optional" {
		say("%s with a key are protected; without one they pass through, as do other methods", strings.Join(r.methods, " and "))
	} else {
		say("%s need a key; other methods pass through", strings.Join(r.methods, " and "))
	}
	say("the key is in %s, and belongs to %s", strings.Join(r.keyHeaders, " or "), r.scope.describe())
	if len(r.fingerprintHeaders) > 0 {
		say("a key is for one request: method, path, query, media type, %s and body", strings.Join(r.fingerprintHeaders, ", "))
	}
	say("the upstream has %v to answer, of which %v to be connected; the key is lent for %v", r.timeout, r.connect, r.lease)
	if r.wait > 0 {
		say("a retry waits up to %v for a request that is at work", r.wait)
	}
	say("kept for %v: %s", r.retention, r.kept())
	if len(r.unknownStatuses) > 0 {
		say("an outcome is unknown after %s as well", list(r.unknownStatuses))
	}
	if r.unknown == Hold {
		say("an unknown outcome holds the key until its lease ends")
	} else {
		say("an unknown outcome frees the key at once: the upstream may be asked twice")
	}
}

// kept are the statuses that are stored.
func (r *route) kept() string {
	var ranges []string
	from := 0
	for status := 200; status <= 600; status++ {
		kept := status < 600 && r.outcome(status) != idempotency.Release
		switch {
		case kept && from == 0:
			from = status
		case !kept && from == status-1:
			ranges = append(ranges, fmt.Sprint(from))
			from = 0
		case !kept && from != 0:
			ranges = append(ranges, fmt.Sprintf("%d-%d", from, status-1))
			from = 0
		}
	}
	return strings.Join(ranges, ", ")
}

func list(statuses []statuses) string {
	var texts []string
	for _, s := range statuses {
		texts = append(texts, s.String())
	}
	return strings.Join(slices.Compact(texts), ", ")
}

func (s Scope) describe() string {
	switch s.From {
	case "header":
		return "whoever " + s.Header + " names: what is in front must set it, and take it off what callers send"
	case "credential":
		return "the credential in Authorization"
	case "client_certificate":
		return "the subject of the client's certificate"
	}
	return "all callers together"
}
