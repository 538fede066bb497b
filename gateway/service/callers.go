package service

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Caller is one that may call, by a token or by a certificate.
type Caller struct {
	// Token is the bearer token, of 16 bytes or more without white space. To rotate one, have the old and the new one for a while.
	Token string
	// Certificate is a name in the client's verified certificate: its common name, or a DNS name or URI among its alternative names.
	Certificate string
	// Scopes are those that the caller may use. Default: every scope.
	Scopes []string
}

const shortestToken = 16

// ParseCallers reads the tokens of a file: one a line, and after it the scopes that it may use, if not all; empty lines and those that
// begin with # say nothing. Errors name lines, and nothing of what is in them.
func ParseCallers(text string) (callers []Caller, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields[0]) < shortestToken {
			return nil, fmt.Errorf("line %d has a token of %d bytes: use %d or more, by openssl rand -hex 32", number, len(fields[0]), shortestToken)
		}
		callers = append(callers, Caller{Token: fields[0], Scopes: fields[1:]})
	}
	if len(callers) == 0 {
		return nil, errors.New("there is no token: write one a line, by openssl rand -hex 32")
	}
	return callers, nil
}

// callers tells who calls.
type callers struct {
	tokens       []token
	certificates map[string]caller
	any          bool
	anonymous    bool
}

type token struct {
	digest [sha256.Size]byte
	caller
}

// caller is what somebody may do.
type caller struct {
	scopes []string // empty: all
}

func (c caller) may(scope string) bool { return len(c.scopes) == 0 || slices.Contains(c.scopes, scope) }

func newCallers(config Config) (*callers, error) {
	c := &callers{certificates: map[string]caller{}, any: config.AnyCertificate, anonymous: config.Anonymous}
	for i, one := range config.Callers {
		may := caller{slices.Clone(one.Scopes)}
		switch {
		case (one.Token == "") == (one.Certificate == ""):
			return nil, fmt.Errorf("service: caller %d has to have either a token or a certificate's name", i+1)
		case one.Certificate != "":
			if _, there := c.certificates[one.Certificate]; there {
				return nil, fmt.Errorf("service: the certificate %q is that of two callers: give it all of its scopes at once", one.Certificate)
			}
			c.certificates[one.Certificate] = may
		case len(one.Token) < shortestToken || strings.ContainsAny(one.Token, " \t\r\n"):
			return nil, fmt.Errorf("service: the token of caller %d must have %d bytes or more, and no white space", i+1, shortestToken)
		default:
			digest := sha256.Sum256([]byte(one.Token))
			if slices.ContainsFunc(c.tokens, func(t token) bool { return t.digest == digest }) {
				return nil, fmt.Errorf("service: the token of caller %d is that of an earlier one: give it all of its scopes at once", i+1)
			}
			c.tokens = append(c.tokens, token{digest, may})
		}
	}
	return c, nil
}

// of returns who has sent r. A token counts before a certificate, and a wrong one is nobody's, whatever the certificate.
func (c *callers) of(r *http.Request) (caller, bool) {
	if values := r.Header["Authorization"]; len(values) > 0 {
		if len(values) > 1 {
			return caller{}, false
		}
		scheme, text, _ := strings.Cut(values[0], " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return caller{}, false
		}
		return c.byToken(strings.TrimSpace(text))
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		leaf := r.TLS.VerifiedChains[0][0]
		for _, name := range names(leaf) {
			if found, ok := c.certificates[name]; ok {
				return found, true
			}
		}
		if c.any {
			return caller{}, true
		}
	}
	return caller{}, c.anonymous
}

// byToken looks at every token, and takes as long for a wrong one as for any other.
func (c *callers) byToken(text string) (found caller, ok bool) {
	digest := sha256.Sum256([]byte(text))
	for _, t := range c.tokens {
		if subtle.ConstantTimeCompare(t.digest[:], digest[:]) == 1 {
			found, ok = t.caller, true
		}
	}
	return found, ok
}

func names(leaf *x509.Certificate) []string {
	found := slices.Clone(leaf.DNSNames)
	for _, uri := range leaf.URIs {
		found = append(found, uri.String())
	}
	if leaf.Subject.CommonName != "" {
		found = append(found, leaf.Subject.CommonName)
	}
	return found
}
