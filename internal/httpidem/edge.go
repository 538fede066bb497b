package httpidem

import (
	"net/http"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Edge is [Rules] for a gateway that meets a request in one place and its response in another, so that no handler stands between the two and
// no engine is in use. What it makes of a request and of a response is what an adapter makes of them.
type Edge struct{ rules *Rules }

// NewEdge checks options and fills in the defaults, as [NewRules] does. OnError and KeepHeaders are not looked at.
func NewEdge(options Options) (*Edge, error) {
	options.OnError, options.KeepHeaders = nil, nil
	rules, err := newRules(options)
	if err != nil {
		return nil, err
	}
	return &Edge{rules}, nil
}

// Protects reports whether requests of this method are protected.
func (e *Edge) Protects(method string) bool { return e.rules.Protects(method) }

// MaxRequestBytes returns the largest body that is taken.
func (e *Edge) MaxRequestBytes() int { return e.rules.options.MaxRequestBytes }

// Key returns the key in header, or "" where there is none and need not be one.
func (e *Edge) Key(header http.Header) (string, error) {
	key, err := e.rules.headerKey(header)
	switch {
	case err != nil && e.rules.options.Optional && idempotency.AsError(err).Code == idempotency.CodeKeyMissing:
		return "", nil
	case err != nil:
		return "", err
	case len(key) > e.rules.options.MaxKeyBytes:
		return "", e.rules.tooLong
	case e.rules.options.Validate != nil:
		if err := e.rules.options.Validate(key); err != nil {
			return "", as(idempotency.ErrKeyInvalid, err)
		}
	}
	return key, nil
}

// Identity returns what tells r, whose body was read already, from other requests. r.RequestURI and r.URL must both be set.
func (e *Edge) Identity(r *http.Request, body []byte) idempotency.Identity {
	first, more := parts(r, e.rules.options.FingerprintHeaders)
	if more == nil {
		more = first[:]
	}
	fingerprinter := e.rules.options.Fingerprinter
	return idempotency.Identity{
		Fingerprint: fingerprinter.Sum(body, more...),
		Matches:     func(stored idempotency.Fingerprint) bool { return fingerprinter.Matches(stored, body, more...) },
	}
}

// Response returns what is kept of a response: of its headers, those that a replay repeats. The names in header must be canonical.
func (e *Edge) Response(status int, header http.Header, body []byte) idempotency.Response {
	return idempotency.Response{Status: status, Header: encodeHeader(e.rules.replay, header, nil), Body: body}
}

// WriteReplay answers with a stored response, or with a problem where it cannot be read.
func WriteReplay(w http.ResponseWriter, response idempotency.Response) {
	header := w.Header()
	if err := readable(response, header); err != nil {
		WriteProblem(w, err)
		return
	}
	header[Replayed] = replayed
	w.WriteHeader(response.Status)
	if len(response.Body) > 0 {
		_, _ = w.Write(response.Body)
	}
}
