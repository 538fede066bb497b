package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// The secrets that are planted. Nothing else that a server says looks like them.
const (
	card  = "4929420573595709"
	key   = "idem/7Qe2mXw9+planted"
	token = "tok_live_c2VjcmV0LXBsYW50ZWQ"
)

var planted = map[string]string{"the card number": card, "the key": key, "the token": token}

// forms are what a secret looks like to somebody who looks for it.
func forms(secret string) []string {
	spelled := []string{secret, url.QueryEscape(secret), strings.ReplaceAll(secret, "/", `\/`), hex.EncodeToString([]byte(secret))}
	// Inside of a longer text in base64 there are three ways in which it can begin, and the characters at both ends hold parts of others.
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		inner := strings.TrimRight(encoded, "=")
		inner = inner[4*((shift+2)/3) : len(inner)-2]
		spelled = append(spelled, inner, strings.NewReplacer("+", "-", "/", "_").Replace(inner))
	}
	return spelled
}

// places are what leaves a process, by where it goes.
type places struct {
	mu   sync.Mutex
	text map[string]*bytes.Buffer
}

func newPlaces() *places { return &places{text: map[string]*bytes.Buffer{}} }

func (p *places) add(place string, text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text[place] == nil {
		p.text[place] = &bytes.Buffer{}
	}
	p.text[place].Write(append(text, '\n'))
}

func (p *places) get(place string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text[place] == nil {
		return ""
	}
	return p.text[place].String()
}

// found lists which secret is where, as "the key in the log".
func (p *places) found() (leaks []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for place, text := range p.text {
		all := strings.ToLower(text.String())
		for name, secret := range planted {
			if slices.ContainsFunc(forms(secret), func(form string) bool { return strings.Contains(all, strings.ToLower(form)) }) {
				leaks = append(leaks, name+" in "+place)
			}
		}
	}
	slices.Sort(leaks)
	return leaks
}
