// Package replays measures what a replay out of memory costs, over HTTP on the loopback interface.
package replays

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/replaycache"
)

// Figures are what [Cached] has measured: requests per second of each, as the median of its rounds, and the median of the rounds' own
// ratios, each of two measures that followed one another.
type Figures struct {
	Noop, Cached float64
	Ratio        float64
}

const (
	keys = 1000 // that are replayed in turn
	// client is a connection each, and a goroutine at either end.
	clients = 8
)

var (
	payment = []byte(`{"amount":100,"currency":"USD","recipient":"bob","reference":"invoice 2026-11-0042"}`)
	paid    = []byte(`{"id":"01a1fdc5-c09c-7afc-b7bf-5b972a3d591f","amount":100,"currency":"USD","created_at":"2026-11-21T11:02:37.979959Z"}`)
)

// noop reads the request's body, as every handler of a POST does, and answers what the replays answer.
func noop(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Location", "/api/v1/payments/01a1fdc5-c09c-7afc-b7bf-5b972a3d591f")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(paid)
}

// Cached compares a handler that does nothing with replays of the same response out of a replay cache, in rounds of that length each,
// by clients that keep their connections. The two take turns, and the first of a round is the second of the next. It fails if a
// response was not what it is to be, or if the store was asked for a replay.
func Cached(ctx context.Context, rounds int, length time.Duration) (Figures, error) {
	protected, asked, err := protectedNoop()
	if err != nil {
		return Figures{}, err
	}
	bareAt, err := serve(http.HandlerFunc(noop))
	if err != nil {
		return Figures{}, err
	}
	defer bareAt.Close()
	protectedAt, err := serve(protected)
	if err != nil {
		return Figures{}, err
	}
	defer protectedAt.Close()

	bare := load{at: bareAt.address, begins: "HTTP/1.1 201 "}
	replay := load{at: protectedAt.address, begins: "HTTP/1.1 201 ", has: "Idempotent-Replayed: true\r\n"}
	// Each key is paid once, and every connection and pool is warm.
	if err := (&load{at: protectedAt.address, begins: "HTTP/1.1 201 "}).each(); err != nil {
		return Figures{}, err
	}
	for _, l := range []*load{&bare, &replay} {
		if _, err := l.run(ctx, length/4+time.Millisecond); err != nil {
			return Figures{}, err
		}
	}
	before := asked.Load()
	var noops, cacheds, ratios []float64
	for round := range rounds {
		var rate [2]float64
		for turn := range 2 {
			which := (round + turn) % 2
			if rate[which], err = []*load{&bare, &replay}[which].run(ctx, length); err != nil {
				return Figures{}, err
			}
		}
		noops, cacheds, ratios = append(noops, rate[0]), append(cacheds, rate[1]), append(ratios, rate[1]/rate[0])
	}
	if n := asked.Load() - before; n != 0 {
		return Figures{}, fmt.Errorf("the store was asked %d times: these were not replays out of memory", n)
	}
	return Figures{Noop: median(noops), Cached: median(cacheds), Ratio: median(ratios)}, nil
}

// protectedNoop returns noop behind the middleware, and how often its store was asked.
func protectedNoop() (http.Handler, *atomic.Int64, error) {
	memory, err := memstore.New(memstore.Config{})
	if err != nil {
		return nil, nil, err
	}
	store := &counted{Store: memory}
	cache, err := replaycache.New(replaycache.Config{})
	if err != nil {
		return nil, nil, err
	}
	engine, err := idempotency.New(store, idempotency.Config{Cache: cache, CacheMaxAge: time.Hour}) // longer than it takes
	if err != nil {
		return nil, nil, err
	}
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: func(*http.Request) (string, error) { return "alice", nil }})
	if err != nil {
		return nil, nil, err
	}
	return protect(http.HandlerFunc(noop)), &store.asked, nil
}

// counted counts how often the store was asked for a key.
type counted struct {
	idempotency.Store
	asked atomic.Int64
}

func (c *counted) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	c.asked.Add(1)
	return c.Store.Claim(ctx, key)
}

func (c *counted) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	c.asked.Add(1)
	return c.Store.Lookup(ctx, key)
}

type server struct {
	address string
	http.Server
}

func serve(handler http.Handler) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{address: listener.Addr().String(), Server: http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}}
	go func() { _ = s.Serve(listener) }()
	return s, nil
}

// load is requests as fast as answers come. Its client is as small as can be, since client and server share the processors: what it
// takes is in both of the rates, and would hide what the server takes.
type load struct {
	at          string
	begins, has string
}

// run sends requests for that long and returns how many were answered in a second.
func (l *load) run(ctx context.Context, length time.Duration) (float64, error) {
	var all sync.WaitGroup
	var answered atomic.Int64
	failed := make(chan error, clients)
	started := time.Now()
	for client := range clients {
		all.Go(func() {
			n, err := l.client(ctx, client, started.Add(length))
			answered.Add(int64(n))
			if err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	took := time.Since(started)
	select {
	case err := <-failed:
		return 0, err
	default:
		return float64(answered.Load()) / took.Seconds(), ctx.Err()
	}
}

func (l *load) client(ctx context.Context, client int, end time.Time) (answered int, err error) {
	c, err := l.dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for i := client * keys / clients; ctx.Err() == nil && time.Now().Before(end); i++ {
		if err := c.exchange(i % keys); err != nil {
			return answered, err
		}
		answered++
	}
	return answered, nil
}

// each sends a request for every key.
func (l *load) each() error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range keys {
		if err := c.exchange(i); err != nil {
			return err
		}
	}
	return nil
}

type connection struct {
	net.Conn
	load    *load
	reader  *bufio.Reader
	request []byte
	head    []byte
}

func (l *load) dial() (*connection, error) {
	conn, err := net.Dial("tcp", l.at)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, load: l, reader: bufio.NewReader(conn)}, nil
}

// exchange sends the payment with a key and reads its answer to the end.
func (c *connection) exchange(key int) error {
	r := append(c.request[:0], "POST /api/v1/payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: 8e03978e-40d5-43dd-bc93-"...)
	r = strconv.AppendInt(r, int64(100000000000+key), 10)
	r = append(r, "\r\nContent-Length: "...)
	r = strconv.AppendInt(r, int64(len(payment)), 10)
	r = append(append(r, "\r\n\r\n"...), payment...)
	c.request = r
	if _, err := c.Write(r); err != nil {
		return err
	}
	c.head = c.head[:0]
	for !bytes.HasSuffix(c.head, []byte("\r\n\r\n")) {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		c.head = append(c.head, line...)
	}
	if !bytes.HasPrefix(c.head, []byte(c.load.begins)) || !bytes.Contains(c.head, []byte(c.load.has)) {
		return fmt.Errorf("the answer is not the one that was to be measured: %q", c.head)
	}
	body, err := c.reader.Peek(len(paid))
	if err != nil || !bytes.Equal(body, paid) {
		return fmt.Errorf("the answer's body is not the one that was to be measured: %q, %w", body, err)
	}
	_, err = c.reader.Discard(len(paid))
	return err
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}
