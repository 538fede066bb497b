package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Files are PEM files that TLS is made of.
type Files struct {
	// Certificate is the server's, with those that lead to a root, and Key its private key. Both or neither.
	Certificate, Key string
	// ClientCA has the authorities whose clients are let in. Empty: clients show no certificate.
	ClientCA string
	// OptionalClient lets clients in without a certificate, too: for handlers that know another way to tell who it is.
	OptionalClient bool
}

// Config reads the files, and again after they have changed: a handshake looks whether they did, once a second at most. Files that cannot be read
// then leave what was read before, and onError, which may be nil, is told. It is nil without files.
func (f Files) Config(onError func(error)) (*tls.Config, error) {
	if f == (Files{}) || f == (Files{OptionalClient: true}) {
		return nil, nil
	}
	if f.Certificate == "" || f.Key == "" {
		return nil, errors.New("TLS needs a certificate and its key: give both files")
	}
	if onError == nil {
		onError = func(error) {}
	}
	r := &reloading{files: f, onError: onError}
	read, err := r.read()
	if err != nil {
		return nil, err
	}
	r.current = read
	outer := read.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.config(), nil }
	return outer, nil
}

// reloading is what was read, and of which files.
type reloading struct {
	files   Files
	onError func(error)

	mu      sync.Mutex
	current *tls.Config
	stamps  [3]time.Time
	looked  time.Time
}

const lookAgain = time.Second

func (r *reloading) config() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < lookAgain {
		return r.current
	}
	r.looked = time.Now()
	if r.stamped() == r.stamps {
		return r.current
	}
	read, err := r.read()
	if err != nil {
		r.onError(fmt.Errorf("the TLS files have changed and cannot be used, those read before are: %w", err))
		return r.current
	}
	r.current = read
	return read
}

func (r *reloading) stamped() (stamps [3]time.Time) {
	for i, name := range []string{r.files.Certificate, r.files.Key, r.files.ClientCA} {
		if info, err := os.Stat(name); name != "" && err == nil {
			stamps[i] = info.ModTime()
		}
	}
	return stamps
}

// read notes the files' times before it reads them: a file that changes meanwhile is read again, and one that cannot be used is told about once.
func (r *reloading) read() (*tls.Config, error) {
	r.stamps = r.stamped()
	certificate, err := tls.LoadX509KeyPair(r.files.Certificate, r.files.Key)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and the key %s cannot be used: %w", r.files.Certificate, r.files.Key, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if r.files.ClientCA != "" {
		pem, err := os.ReadFile(r.files.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("the authorities of clients cannot be read: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", r.files.ClientCA)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
		if r.files.OptionalClient {
			config.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	return config, nil
}
