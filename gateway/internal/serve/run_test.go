package serve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/internal/serve"
)

// journal collects JSON log lines, and hands out the addresses that were logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) lines() []map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []map[string]any
	for line := range strings.Lines(j.text.String()) {
		fields := map[string]any{}
		if json.Unmarshal([]byte(line), &fields) == nil {
			lines = append(lines, fields)
		}
	}
	return lines
}

// address waits until the server of this name serves.
func (j *journal) address(t *testing.T, name string) string {
	t.Helper()
	found := ""
	require.Eventually(t, func() bool {
		for _, line := range j.lines() {
			if line["msg"] == "serving" && line["server"] == name {
				found, _ = line["address"].(string)
			}
		}
		return found != ""
	}, 10*time.Second, time.Millisecond)
	return found
}

// running is servers that run until the test, or stop, ends them.
type running struct {
	*journal
	stop context.CancelFunc
	done chan error
}

func run(t *testing.T, servers ...serve.Server) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &running{&journal{}, stop, make(chan error, 1)}
	go func() { r.done <- serve.Run(ctx, slog.New(slog.NewJSONHandler(r.journal, nil)), servers...) }()
	t.Cleanup(stop)
	return r
}

func hello(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	response, err := client.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

func TestAnAddressThatIsTakenIsAnErrorBeforeAnythingIsServed(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	r := run(t, serve.Server{Name: "one", Address: "127.0.0.1:0", Handler: http.HandlerFunc(hello)},
		serve.Server{Name: "two", Address: taken.Addr().String(), Handler: http.HandlerFunc(hello)})
	require.ErrorContains(t, <-r.done, "for two: choose another address")
	assert.Empty(t, r.lines())
}

func TestARequestThatHasBegunIsAnsweredBeforeTheServerEnds(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	r := run(t, serve.Server{Name: "one", Address: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-goOn
		_, _ = io.WriteString(w, "done")
	})})
	url := "http://" + r.address(t, "one")
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get(url)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	<-begun
	r.stop()
	require.Eventually(t, func() bool { // new ones are turned away
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond)
	select {
	case err := <-r.done:
		t.Fatalf("the server ended before its request: %v", err)
	default:
	}
	close(goOn)
	assert.Equal(t, "done", <-answer)
	assert.NoError(t, <-r.done)
}

func TestARequestThatDoesNotEndIsCutOffAfterItsGrace(t *testing.T) {
	t.Parallel()
	begun, over := make(chan struct{}), make(chan struct{})
	defer close(over)
	r := run(t, serve.Server{Name: "one", Address: "127.0.0.1:0", Grace: 10 * time.Millisecond, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-over
	})})
	url := "http://" + r.address(t, "one")
	failed := make(chan error, 1)
	go func() {
		response, err := http.Get(url)
		if err == nil {
			_ = response.Body.Close()
		}
		failed <- err
	}()
	<-begun
	r.stop()
	require.ErrorContains(t, <-r.done, "still running after 10ms")
	assert.Error(t, <-failed)
}

func TestHTTP2IsSpokenInPlainTextWhereItIsAskedFor(t *testing.T) {
	t.Parallel()
	r := run(t, serve.Server{Name: "both", Address: "127.0.0.1:0", H2C: true, Handler: http.HandlerFunc(hello)},
		serve.Server{Name: "one", Address: "127.0.0.1:0", Handler: http.HandlerFunc(hello)})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	two := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	assert.Equal(t, "HTTP/2.0", get(t, two, "http://"+r.address(t, "both")))
	assert.Equal(t, "HTTP/1.1", get(t, http.DefaultClient, "http://"+r.address(t, "both")))
	_, err := two.Get("http://" + r.address(t, "one"))
	assert.Error(t, err)
}

func TestTLSAsksForCertificatesAndTakesNewOnesFromItsFiles(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t), newAuthority(t)
	files := serve.Files{Certificate: file(t, "cert.pem"), Key: file(t, "key.pem"), ClientCA: file(t, "ca.pem")}
	first.write(t, files)
	var told []string
	config, err := files.Config(func(err error) { told = append(told, err.Error()) })
	require.NoError(t, err)
	r := run(t, serve.Server{Name: "tls", Address: "127.0.0.1:0", TLS: config, Handler: http.HandlerFunc(hello)})
	url := "https://" + r.address(t, "tls")

	assert.Equal(t, "HTTP/2.0", get(t, first.client(t, true), url))
	_, err = first.client(t, false).Get(url)
	require.Error(t, err, "a client without a certificate")
	_, err = (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: first.pool, Certificates: []tls.Certificate{second.leaf}}}}).Get(url)
	require.Error(t, err, "a certificate of somebody else's")

	second.write(t, files)
	require.Eventually(t, func() bool {
		response, err := second.client(t, true).Get(url)
		if err != nil {
			return false
		}
		return response.Body.Close() == nil
	}, 10*time.Second, 10*time.Millisecond)
	_, err = first.client(t, true).Get(url)
	require.Error(t, err, "the certificate that was replaced")
	assert.Empty(t, told)
}

func TestTLSFilesThatBreakLeaveWhatWasReadBefore(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	files := serve.Files{Certificate: file(t, "cert.pem"), Key: file(t, "key.pem")}
	authority.write(t, files)
	told := make(chan error, 10)
	config, err := files.Config(func(err error) { told <- err })
	require.NoError(t, err)
	r := run(t, serve.Server{Name: "tls", Address: "127.0.0.1:0", TLS: config, Handler: http.HandlerFunc(hello)})
	url := "https://" + r.address(t, "tls")
	overwrite(t, files.Certificate, []byte("not a certificate"))
	require.Eventually(t, func() bool { get(t, authority.client(t, false), url); return len(told) > 0 }, 10*time.Second, 10*time.Millisecond)
	assert.ErrorContains(t, <-told, "those read before are")
}

func TestTLSFilesAreCheckedAtOnce(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	good := serve.Files{Certificate: file(t, "cert.pem"), Key: file(t, "key.pem")}
	authority.write(t, good)
	config, err := serve.Files{}.Config(nil)
	require.NoError(t, err)
	assert.Nil(t, config, "no files are no TLS")
	for says, files := range map[string]serve.Files{
		"give both files":          {Certificate: good.Certificate},
		"cannot be used":           {Certificate: good.Key, Key: good.Key},
		"cannot be read":           {Certificate: good.Certificate, Key: good.Key, ClientCA: good.Key + ".none"},
		"holds no certificate":     {Certificate: good.Certificate, Key: good.Key, ClientCA: good.Key},
		"needs a certificate and ": {ClientCA: good.Certificate},
	} {
		_, err := files.Config(nil)
		assert.ErrorContains(t, err, says)
	}
}

func TestClientsMayHaveNoCertificateWhereThatIsSaid(t *testing.T) {
	t.Parallel()
	authority, stranger := newAuthority(t), newAuthority(t)
	files := serve.Files{Certificate: file(t, "cert.pem"), Key: file(t, "key.pem"), ClientCA: file(t, "ca.pem"), OptionalClient: true}
	authority.write(t, files)
	config, err := files.Config(nil)
	require.NoError(t, err)
	r := run(t, serve.Server{Name: "tls", Address: "127.0.0.1:0", TLS: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strconv.Itoa(len(r.TLS.VerifiedChains)))
	})})
	url := "https://" + r.address(t, "tls")
	assert.Equal(t, "1", get(t, authority.client(t, true), url))
	assert.Equal(t, "0", get(t, authority.client(t, false), url))
	forced := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger.leaf, nil }
	_, err = (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.pool, GetClientCertificate: forced}}}).Get(url)
	require.Error(t, err, "a certificate of somebody else's")
}
