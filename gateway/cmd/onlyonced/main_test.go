package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/freeport"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/redisserver"
)

func TestExitCodesAndWhatIsSaid(t *testing.T) {
	t.Parallel()
	unmigrated := pgtest.SchemaURL(t, pgtest.EmptySchema(t))
	tokens, short, store := write(t, token), write(t, "hunter2"), write(t, "memory:\n")
	for name, c := range map[string]struct {
		environment []string
		args        []string
		code        int
		says        string
	}{
		"help":                        {nil, []string{"-h"}, 0, "/v1/claims"},
		"no store":                    {nil, nil, 2, "-store or -store-file"},
		"two stores":                  {nil, []string{"-store", "memory:", "-store-file", store}, 2, "either -store or -store-file"},
		"nobody to be told":           {nil, []string{"-store", "memory:"}, 2, "-insecure, where nobody else can reach"},
		"everybody and some":          {nil, []string{"-store", "memory:", "-insecure", "-tokens", tokens}, 2, "give one of them"},
		"a short token":               {nil, []string{"-store", "memory:", "-tokens", short}, 2, "line 1 has a token of 7 bytes"},
		"no tokens there":             {nil, []string{"-store", "memory:", "-tokens", tokens + ".none"}, 2, "no such file"},
		"clients without TLS":         {nil, []string{"-store", "memory:", "-client-ca", tokens}, 2, "-tls-cert and -tls-key"},
		"names without clients":       {nil, []string{"-store", "memory:", "-tokens", tokens, "-certificates", tokens}, 2, "-client-ca"},
		"half of TLS":                 {nil, []string{"-store", "memory:", "-tokens", tokens, "-tls-cert", tokens}, 1, "give both files"},
		"a short secret":              {nil, []string{"-store", "memory:", "-insecure", "-fingerprint-secrets", short}, 2, "at least 16"},
		"words":                       {nil, []string{"-store", "memory:", "-insecure", "hunter2"}, 2, "everything is set by flags"},
		"an unknown flag":             {nil, []string{"-nothing"}, 2, "Try onlyonced -h"},
		"a strange variable":          {[]string{"ONLYONCED_LEASE=hunter2"}, []string{"-store", "memory:", "-insecure"}, 2, "ONLYONCED_LEASE cannot be used"},
		"a strange format":            {nil, []string{"-store", "memory:", "-insecure", "-log-format", "xml"}, 2, "text or json"},
		"a lease beyond the longest":  {nil, []string{"-store", "memory:", "-insecure", "-lease", "2h"}, 1, "must not be longer"},
		"a store that cannot be read": {nil, []string{"-store", "postgres://u:hunter2@host:port", "-insecure"}, 1, "cannot be read"},
		"a store that is away":        {nil, []string{"-store", "postgres://u:hunter2@127.0.0.1:1/x", "-insecure"}, 1, "cannot be used"},
		"a store without a table":     {nil, []string{"-store", unmigrated, "-insecure", "-check"}, 1, "cannot be used"},
		"a check":                     {[]string{"ONLYONCED_STORE_FILE=" + store, "ONLYONCED_TOKENS=" + tokens}, []string{"-check"}, 0, "memory can be used; who may call: 1 tokens"},
		"a token for a database":      {nil, []string{"-store", "memory:", "-insecure", "-store-token", short}, 2, "for a store that is another onlyonced"},
		"a token that is not there":   {nil, []string{"-store", "https://keys", "-insecure", "-store-token", tokens + ".none"}, 2, "no such file"},
		"an address that is none":     {nil, []string{"-store", "memory:", "-insecure", "-listen", "127.0.0.1:99999"}, 1, "choose another address"},
		"nothing to migrate":          {nil, []string{"-store", "memory:", "-migrate"}, 1, "only PostgreSQL is migrated"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, code := said(t, c.environment, c.args...)
			assert.Equal(t, c.code, code, text)
			assert.Contains(t, text, c.says)
			assert.NotContains(t, text, "hunter2")
		})
	}
}

func TestEveryFlagIsInTheReadme(t *testing.T) {
	t.Parallel()
	readme := read(t, "../../README.md")
	for _, name := range flagNames() {
		assert.Contains(t, readme, "`-"+name+"`")
	}
}

func TestMigrateCheckServeAndEndInOrder(t *testing.T) {
	t.Parallel()
	url, tokens := pgtest.SchemaURL(t, pgtest.EmptySchema(t)), write(t, token)
	for range 2 {
		text, code := said(t, nil, "-store", url, "-migrate")
		require.Zero(t, code, text)
	}
	text, code := said(t, nil, "-store", url, "-tokens", tokens, "-check")
	require.Zero(t, code, text)
	d := start(t, "-store", url, "-tokens", tokens)
	status, _ := d.get("/healthz")
	assert.Equal(t, http.StatusOK, status)
	status, _ = d.get("/readyz")
	assert.Equal(t, http.StatusOK, status)
	status, answer, err := d.claim("a-key-of-acme", time.Minute)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status, answer)
	_, metrics := d.get("/metrics")
	assert.Contains(t, metrics, `onlyonce_operations_total{operation="claim",outcome="claimed"} 1`)
	assert.Contains(t, metrics, "go_goroutines")
	for _, secret := range []string{"a-key-of-acme", token, "acme"} {
		assert.NotContains(t, metrics, secret)
		assert.NotContains(t, d.text(), secret)
	}
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGTERM))
	assert.Zero(t, d.wait(), d.text())
}

func TestAServiceInFrontOfAnotherOneShowsItItsToken(t *testing.T) {
	t.Parallel()
	inner := start(t, "-store", "memory:", "-tokens", write(t, token))
	text, code := said(t, nil, "-store", "http://"+inner.service, "-insecure", "-check")
	require.Equal(t, 1, code, text)
	outer := start(t, "-store", "http://"+inner.service, "-store-token", write(t, token+"\n"), "-tokens", write(t, "another-token-of-the-tests"))
	outer.token = "another-token-of-the-tests"
	status, answer, err := outer.claim("k", time.Minute)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status, answer)
	status, answer, err = inner.claim("k", time.Minute)
	require.NoError(t, err)
	assert.Equal(t, http.StatusConflict, status, answer)
	assert.NotContains(t, outer.text(), token)
}

func TestARequestThatHasBegunIsAnsweredAfterSIGTERM(t *testing.T) {
	t.Parallel()
	schema := pgtest.Schema(t)
	d := start(t, "-store", pgtest.SchemaURL(t, schema), "-tokens", write(t, token))
	pool := pgtest.Pool(t, schema)
	blocking, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = blocking.Exec(t.Context(), "LOCK TABLE idempotency_keys")
	require.NoError(t, err)
	answered := make(chan int, 1)
	go func() {
		status, _, err := d.claim("k", time.Minute)
		if err != nil {
			status = -1
		}
		answered <- status
	}()
	require.Eventually(t, func() bool { // until it waits for the lock
		var waiting bool
		err := blocking.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'idempotency_keys'::regclass)").Scan(&waiting)
		return err == nil && waiting
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", d.service)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond, "new requests are turned away")
	require.NoError(t, blocking.Rollback(t.Context()))
	assert.Equal(t, http.StatusCreated, <-answered)
	assert.Zero(t, d.wait(), d.text())
}

func TestAKeyOfACallerAndAServiceThatWereKilledIsTakenOverAfterItsLease(t *testing.T) {
	t.Parallel()
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		takenOver(t, pgtest.SchemaURL(t, pgtest.Schema(t)))
	})
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		server, err := redisserver.Start(t.Context(), "--appendonly", "yes", "--appendfsync", "always")
		if errors.Is(err, redisserver.ErrNoProgram) {
			t.Skip(err)
		}
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, server.Stop()) })
		takenOver(t, "redis://"+server.Address)
	})
}

func takenOver(t *testing.T, store string) {
	t.Helper()
	tokens := write(t, token)
	first := start(t, "-store", store, "-tokens", tokens)
	const lease = 700 * time.Millisecond
	began := time.Now()
	status, _, err := first.claim("k", lease)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status)
	require.NoError(t, first.cmd.Process.Kill())
	assert.Equal(t, -1, first.wait())

	second := start(t, "-store", store, "-tokens", tokens)
	var answer map[string]any
	require.Eventually(t, func() bool {
		status, answer, err = second.claim("k", time.Minute)
		require.NoError(t, err)
		if status != http.StatusCreated {
			require.Equal(t, "concurrent_process_error", answer["code"])
		}
		return status == http.StatusCreated
	}, 20*time.Second, 10*time.Millisecond)
	assert.GreaterOrEqual(t, time.Since(began), lease)
	assert.EqualValues(t, 2, answer["attempt"])
}

func TestMutualTLSLetsInWhoHasBothOfWhatIsAsked(t *testing.T) {
	t.Parallel()
	certificate, key := certify(t)
	cert, keyFile := write(t, string(certificate)), write(t, string(key))
	files := []string{"-store", "memory:", "-tls-cert", cert, "-tls-key", keyFile, "-client-ca", cert}
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(certificate))
	pair, err := tls.X509KeyPair(certificate, key)
	require.NoError(t, err)
	with := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{pair}}, ForceAttemptHTTP2: true}}
	without := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	for _, c := range []struct {
		args   []string
		status int
	}{
		{[]string{"-tokens", write(t, token)}, http.StatusCreated},
		{[]string{"-tokens", write(t, token+"2")}, http.StatusUnauthorized},
	} {
		d := start(t, append(c.args, files...)...)
		d.client = with
		status, _, err := d.claim("k", time.Minute)
		require.NoError(t, err)
		assert.Equal(t, c.status, status)
		d.token = ""
		status, _, err = d.claim("k2", time.Minute)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status, "a certificate without a token")
		d.token, d.client = token, without
		_, _, err = d.claim("k", time.Minute)
		assert.Error(t, err, "a connection without a certificate")
	}
	text, code := said(t, nil, append([]string{"-check"}, files...)...)
	assert.Zero(t, code)
	assert.Contains(t, text, "every certificate")
}

// certify makes a certificate that vouches for itself, as server and as client.
func certify(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

func TestAdminMayStandBesideTheService(t *testing.T) {
	t.Parallel()
	port, err := freeport.Find()
	require.NoError(t, err)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	c := command(t.Context(), t, nil, "-store", "memory:", "-insecure", "-listen", address, "-admin", address)
	require.NoError(t, c.Start())
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/openapi.yaml": 200, "/nowhere": 404} {
		require.Eventually(t, func() bool {
			response, err := http.Get("http://" + address + path)
			if err != nil {
				return false
			}
			_ = response.Body.Close()
			return response.StatusCode == want
		}, 20*time.Second, 10*time.Millisecond, path)
	}
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	require.NoError(t, c.Wait())
}
