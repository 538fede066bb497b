package serve_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/internal/serve"
)

// authority is one that has certified a key for 127.0.0.1, as server and as client.
type authority struct {
	certificate, leafPEM, keyPEM []byte
	pool                         *x509.CertPool
	leaf                         tls.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := func(serial int64, ca bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, BasicConstraintsValid: true, IsCA: ca,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	root, rootKey := template(1, true), newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	require.NoError(t, err)
	a.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.True(t, a.pool.AppendCertsFromPEM(a.certificate))
	key := newKey(t)
	der, err = x509.CreateCertificate(rand.Reader, template(2, false), root, &key.PublicKey, rootKey)
	require.NoError(t, err)
	a.leafPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	der, err = x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	a.keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	a.leaf, err = tls.X509KeyPair(a.leafPEM, a.keyPEM)
	require.NoError(t, err)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// client is one that trusts the authority, opens a connection for each request, and shows a certificate where it is asked to.
func (a *authority) client(t *testing.T, certified bool) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: a.pool}
	if certified {
		config.Certificates = []tls.Certificate{a.leaf}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (a *authority) write(t *testing.T, files serve.Files) {
	t.Helper()
	overwrite(t, files.Certificate, a.leafPEM)
	overwrite(t, files.Key, a.keyPEM)
	if files.ClientCA != "" {
		overwrite(t, files.ClientCA, a.certificate)
	}
}

func file(t *testing.T, name string) string { return filepath.Join(t.TempDir(), name) }

func overwrite(t *testing.T, name string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, content, 0o600))
}
