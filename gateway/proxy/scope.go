package proxy

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
)

// of returns what finds out whose a request's key is.
func (s Scope) of() func(r *http.Request) (string, error) {
	switch s.From {
	case "header":
		return func(r *http.Request) (string, error) { return single(r, s.Header) }
	case "credential":
		return credential
	case "client_certificate":
		return certificate
	}
	return nethttp.SharedScope
}

// single returns a header that is there once: of two, whoever authenticates and the proxy could each take another one.
func single(r *http.Request, name string) (string, error) {
	values := r.Header.Values(name)
	if len(values) != 1 || values[0] == "" {
		return "", fmt.Errorf("proxy: the request has %d headers %s, want one that is not empty: have what authenticates set it", len(values), name)
	}
	return values[0], nil
}

// credential is a digest of what authenticates the request, whoever checks that: a key belongs to the credential that it first came with, and a
// caller whose credential was replaced has to use new keys.
func credential(r *http.Request) (string, error) {
	value, err := single(r, "Authorization")
	if err != nil {
		return "", err
	}
	return digest([]byte(value)), nil
}

func digest(of []byte) string {
	sum := sha256.Sum256(of)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// certificate is the subject of the client's certificate as it stands there, or a digest of it where it is too long. Certificates whose subject is
// empty say elsewhere whose they are: they would all be one caller's.
func certificate(r *http.Request) (string, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return "", errors.New("proxy: the client showed no certificate that was verified")
	}
	raw := r.TLS.PeerCertificates[0].RawSubject
	var names pkix.RDNSequence // pkix.Name has one name of a kind, and would make two subjects one
	if _, err := asn1.Unmarshal(raw, &names); err != nil || len(names) == 0 {
		return "", errors.New("proxy: the client's certificate has no subject: issue one that names the caller")
	}
	subject := names.String()
	if (idempotency.Key{Scope: subject, Value: "x"}).Check() != nil {
		return digest(raw), nil
	}
	return subject, nil
}
