package secrets

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/pgstore"
)

// serverVariable makes this test binary a server process; it holds the database's URL.
const serverVariable = "ONLYONCE_SECRETS_SERVER"

// said is a line of the process's standard output.
type said struct {
	Address string `json:",omitempty"`
	// Metric is an event but for its cause, which is for the operator's eyes: there the database may quote what it was given.
	Metric string `json:",omitempty"`
	Cause  string `json:",omitempty"`
}

func say(line said) { _ = json.NewEncoder(os.Stdout).Encode(line) }

// slowly is what the handler says before it waits.
const slowly = "a slow payment has begun"

// application is a payments service that logs all that it can.
type application struct {
	pool   *pgxpool.Pool
	engine *idempotency.Engine
	gone   chan struct{} // closed when the slow request may go on
}

func serve(databaseURL string) error {
	go func() { // ends with the test that started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug - 10}))
	slog.SetDefault(logger)
	pool, err := pgstore.NewPool(context.Background(), databaseURL, pgstore.PoolConfig{})
	if err != nil {
		return err
	}
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Timeout: 2 * time.Second, ReadBackTimeout: time.Second})
	if err != nil {
		return err
	}
	log := idempotency.LogObserver(logger)
	a := &application{pool: pool, gone: make(chan struct{})}
	a.engine, err = idempotency.New(store, idempotency.Config{
		MaxResponseBytes: 1000, MaxPendingPerScope: 3, Lease: time.Second,
		Observer: func(ctx context.Context, e idempotency.Event) {
			log(ctx, e)
			line := said{}
			if e.Err != nil {
				line.Cause = e.Err.Error()
			}
			e.Err = nil
			line.Metric = fmt.Sprintf("%+v", e)
			say(line)
		},
	})
	if err != nil {
		return err
	}
	protect, err := nethttp.Middleware(a.engine, nethttp.Config{Scope: account, MaxRequestBytes: 1000})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /pay/{card}", protect(http.HandlerFunc(a.pay)))
	mux.HandleFunc("GET /go", func(http.ResponseWriter, *http.Request) { close(a.gone) })
	mux.HandleFunc("POST /leak", a.leak)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	say(said{Address: listener.Addr().String()})
	server := &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError)}
	return server.Serve(listener)
}

// account is the scope. Its error says more than a client or a log should get.
func account(r *http.Request) (string, error) {
	if bearer := r.Header.Get("Authorization"); bearer != "Bearer "+token {
		return "", fmt.Errorf("nobody has the credentials %s", bearer)
	}
	return "account-1", nil
}

// pay does what the request's header says, with the card that is in the request's path and body.
func (a *application) pay(w http.ResponseWriter, r *http.Request) {
	ctx, number := r.Context(), r.PathValue("card")
	all := errors.New("failed with " + number + ", " + r.Header.Get("Idempotency-Key") + ", " + r.Header.Get("Authorization"))
	exec := func(sql string, args ...any) error {
		_, err := pgstore.Tx(ctx).Exec(ctx, sql, args...)
		return err
	}
	step := func(name string) error {
		_, err := idempotency.Atomic(ctx, name, func(ctx context.Context) (string, error) {
			_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO cards VALUES ($1)`, number+r.Header.Get("Idempotency-Key"))
			return number, err
		})
		return err
	}
	var err error
	switch r.Header.Get("Do") {
	case "refuse":
		w.WriteHeader(http.StatusPaymentRequired)
		return
	case "fail":
		nethttp.WriteProblem(w, all)
		return
	case "fail in the database":
		if err = exec(`INSERT INTO cards VALUES ($1), ($1)`, number); err == nil {
			err = errors.New("it did not fail")
		}
		nethttp.WriteProblem(w, err)
		return
	case "quote":
		_ = exec(`SELECT $1::text::int`, number)
	case "conflict":
		_ = exec(`DO $$ BEGIN RAISE EXCEPTION 'Key (number)=(` + number + `)' USING ERRCODE = '40001', DETAIL = '` + number + `'; END $$`)
	case "deferred":
		err = exec(`INSERT INTO charges VALUES ($1)`, number) // COMMIT refuses it, and quotes the number
	case "end":
		_ = exec(`COMMIT`)
	case "much":
		_, _ = io.WriteString(w, strings.Repeat(number+" ", 100))
		return
	case "panic":
		panic("broken")
	case "slow":
		say(said{Metric: slowly})
		<-a.gone
	case "leave":
		if step("begun") == nil {
			_, _ = idempotency.Foreign(ctx, "charged", func(context.Context, string) (string, error) { return "", all })
		}
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	case "change":
		err = step("another")
	case "misuse":
		_ = exec(`INSERT INTO cards VALUES ($1)`, number)
		err = step("late")
	case "lose":
		if err = step("mine"); err == nil {
			_, err = a.pool.Exec(ctx, `UPDATE idempotency_keys SET owner = '\x00' WHERE key = $1`, r.Header.Get("Idempotency-Key"))
		}
		if err == nil {
			err = step("not mine")
		}
	case "nest":
		_, err = a.engine.Run(ctx, idempotency.Request{Key: idempotency.Key{Scope: "account-1", Value: key + "inner"}}, nil)
	default:
		err = exec(`INSERT INTO cards VALUES ($1)`, number+r.Header.Get("Idempotency-Key"))
	}
	if err != nil {
		nethttp.WriteProblem(w, err)
		return
	}
	w.Header().Set("Location", "/payments/1")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, "paid")
}

// leak tells everybody, in the form that the request asks for: a search that finds nothing then finds nothing ever.
func (a *application) leak(w http.ResponseWriter, r *http.Request) {
	secret, _ := io.ReadAll(r.Body)
	text := "before " + string(secret) + " after"
	switch r.Header.Get("Form") {
	case "base64":
		text = base64.StdEncoding.EncodeToString([]byte(r.Header.Get("Shift") + text))
	case "hex":
		text = hex.EncodeToString([]byte(text))
	case "query":
		text = url.QueryEscape(text)
	}
	slog.Debug("told", "text", text)
	say(said{Metric: text})
	say(said{Cause: text})
	if _, err := a.pool.Exec(r.Context(), `SELECT 1 -- `+text); err != nil {
		slog.Error("no query", "error", err)
	}
	w.Header().Set("X-Told", text)
	_, _ = io.WriteString(w, text)
}
