// Package serve runs the HTTP servers of the gateway's programs: listeners, TLS, time-outs, and an orderly end.
package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server is one listener and what answers there. Address and Handler are required.
type Server struct {
	// Name is for logs.
	Name string
	// Address is host:port; port 0 takes a free one.
	Address string
	Handler http.Handler
	// TLS makes it HTTPS, HTTP/1.1 and HTTP/2. nil is plain text. [Files.Config] makes one that reads certificates again when they change.
	TLS *tls.Config
	// H2C takes HTTP/2 in plain text as well, from clients that begin with it.
	H2C bool
	// ReadTimeout bounds reading a request, its body included. Default: 30 seconds.
	ReadTimeout time.Duration
	// WriteTimeout bounds the time from the end of a request's header to the end of its answer. Default: 60 seconds.
	WriteTimeout time.Duration
	// Grace is for how long requests may go on when the program is asked to end. Default: 30 seconds.
	Grace time.Duration
}

const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Run serves until ctx ends, and then ends the servers one after the other, in their order, each of them when its requests are answered or its
// Grace is over. All of the listeners are open, or none: an address that cannot be had is an error before anything is served. A server that fails
// ends the others. nil says that every request that had begun was answered.
func Run(ctx context.Context, logger *slog.Logger, servers ...Server) error {
	running := make([]*server, 0, len(servers))
	for _, s := range servers {
		r, err := listen(ctx, logger, s)
		if err != nil {
			for _, open := range running {
				_ = open.listener.Close()
			}
			return err
		}
		running = append(running, r)
	}
	failed := make(chan error, len(running))
	for _, r := range running {
		go func() { failed <- r.serve() }()
	}
	for _, r := range running {
		logger.InfoContext(ctx, "serving", "server", r.Name, "address", r.listener.Addr().String(), "tls", r.TLS != nil)
	}
	var err error
	select {
	case <-ctx.Done():
		logger.InfoContext(ctx, "ending: requests that have begun are answered", "grace", running[0].Grace)
	case err = <-failed:
	}
	for _, r := range running {
		err = errors.Join(err, r.end())
	}
	return err
}

type server struct {
	Server
	listener net.Listener
	http     *http.Server
}

func listen(ctx context.Context, logger *slog.Logger, s Server) (*server, error) {
	s.ReadTimeout, s.WriteTimeout = cmp.Or(s.ReadTimeout, 30*time.Second), cmp.Or(s.WriteTimeout, time.Minute)
	s.Grace = cmp.Or(s.Grace, 30*time.Second)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s for %s: choose another address: %w", s.Address, s.Name, err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.TLS != nil)
	protocols.SetUnencryptedHTTP2(s.TLS == nil && s.H2C)
	return &server{s, listener, &http.Server{
		Handler:           s.Handler,
		TLSConfig:         s.TLS,
		Protocols:         protocols,
		ReadHeaderTimeout: min(headerTimeout, s.ReadTimeout),
		ReadTimeout:       s.ReadTimeout,
		WriteTimeout:      s.WriteTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.With("server", s.Name).Handler(), slog.LevelWarn),
	}}, nil
}

func (s *server) serve() error {
	var err error
	if s.TLS != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("the server of %s on %s ended: %w", s.Name, s.listener.Addr(), err)
}

// end lets requests go on for as long as Grace lasts.
func (s *server) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.Grace)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	_ = s.http.Close()
	return fmt.Errorf("requests of %s were still running after %v, and were cut off: give them more time to end: %w", s.Name, s.Grace, err)
}
