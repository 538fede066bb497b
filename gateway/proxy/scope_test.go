package proxy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
)

// scoped is a configuration whose scope is this.
func scoped(t *testing.T, upstream, scope string, top string, settings ...string) *proxy.Config {
	t.Helper()
	config, err := proxy.Parse([]byte(top + strings.Replace(file(upstream, settings...), "{from: header, header: X-Account}", scope, 1)))
	require.NoError(t, err)
	return config
}

func TestACredentialHasKeysOfItsOwn(t *testing.T) {
	t.Parallel()
	up, lender := newUpstream(t, says(created)), newClocked(t)
	g := front(t, lender, scoped(t, up.url(), "{from: credential}", ""))
	post := func(credentials ...string) answer {
		r := g.request("k", "{}")
		r.Header["Authorization"] = credentials
		return g.send(r)
	}
	post().problem(http.StatusForbidden, idempotency.CodeScopeMissing)
	post("Bearer alice", "Bearer bob").problem(http.StatusForbidden, idempotency.CodeScopeMissing)
	first := post("Bearer alice").is(http.StatusCreated, "paid")
	post("Bearer alice").replays(first)
	require.Empty(t, post("Bearer bob").header.Get("Idempotent-Replayed"))
	up.hasEffects(2)
	record, err := lender.Lookup(t.Context(), idempotency.Key{Scope: "Bearer alice", Value: "k"})
	require.NoError(t, err)
	require.Nil(t, record, "a credential is not stored")
}

func TestAllCallersShareTheirKeysWhereThatIsSaid(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(created))
	g := front(t, newClocked(t), scoped(t, up.url(), "{from: shared}", ""))
	first := g.post("k", "{}").is(http.StatusCreated, "paid")
	other := g.request("k", "{}")
	other.Header.Set("X-Account", "bob")
	g.send(other).replays(first)
}

var commonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// authority issues certificates to clients.
type authority struct {
	*testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{T: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.certificate, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(a.file, nil, 0o600))
	return a
}

func (a *authority) issue(name string) tls.Certificate {
	a.Helper()
	return a.issueTo(pkix.Name{CommonName: name})
}

func (a *authority) issueTo(subject pkix.Name) tls.Certificate {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	require.NoError(a, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestAClientsCertificateHasKeysOfItsOwn(t *testing.T) {
	t.Parallel()
	a, up, lender := newAuthority(t), newUpstream(t, says(created)), newClocked(t)
	config := scoped(t, up.url(), "{from: client_certificate}", "listen: {tls: {certificate: x, key: x, client_ca: "+a.file+"}}\n")
	g := front(t, lender, config, func(s *httptest.Server) {
		pool := x509.NewCertPool()
		pool.AddCert(a.certificate)
		s.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	})
	transport := g.Client().Transport.(*http.Transport)
	post := func(certificates ...tls.Certificate) answer {
		transport.TLSClientConfig.Certificates = certificates
		return g.send(g.request("k", "{}"))
	}
	post().problem(http.StatusForbidden, idempotency.CodeScopeMissing)
	first := post(a.issue("alice")).is(http.StatusCreated, "paid")
	post(a.issue("alice")).replays(first)
	require.Empty(t, post(a.issue("bob")).header.Get("Idempotent-Replayed"))
	post(a.issue(strings.Repeat("long", 100))).is(http.StatusCreated, "paid")
	up.hasEffects(3)
	post(a.issueTo(pkix.Name{})).problem(http.StatusForbidden, idempotency.CodeScopeMissing) // all without a subject would be one caller
	up.hasEffects(3)
	two := pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: commonName, Value: "mallory"}, {Type: commonName, Value: "alice"}}}
	require.Empty(t, post(a.issueTo(two)).is(http.StatusCreated, "paid").header.Get("Idempotent-Replayed"))
	up.hasEffects(4)
	record, err := lender.Lookup(t.Context(), idempotency.Key{Scope: "CN=alice", Value: "k"})
	require.NoError(t, err)
	require.NotNil(t, record)
}
