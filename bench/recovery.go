package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// victimVariable makes this program the process that is killed while it works on a payment; it holds the payment.
const victimVariable = "ONLYONCE_BENCH_VICTIM"

const (
	crashes = 15
	lease   = time.Second
	inside  = "inside\n" // what the victim says when its handler is where it will be killed
)

// crash is one payment whose owner dies.
type crash struct {
	URL   string
	Key   string
	Steps bool // the handler has recovery points, and dies in its foreign call
}

// recovery measures the time from a crash, a process that is killed inside of its handler, to the answer to a retry that waits.
func (db *database) recovery(ctx context.Context) (string, error) {
	engine, err := engineOn(db.admin, idempotency.Config{Lease: lease, Wait: time.Minute})
	if err != nil {
		return "", err
	}
	var took [2][]float64
	for range crashes {
		for with, steps := range []bool{false, true} {
			waited, err := db.crash(ctx, engine, crash{URL: db.url, Key: db.request().Key.Value, Steps: steps})
			if err != nil {
				return "", err
			}
			took[with] = append(took[with], float64(waited.Microseconds())/1000)
		}
	}
	return fmt.Sprintf("from a SIGKILL to the answer, medians of %d: %.0f ms without recovery points, where the lock dies with its connection; "+
		"%.0f ms with, where a lease of %v has to end that is renewed every third of it", crashes, median(took[0]), median(took[1]), lease), nil
}

// crash kills a process inside of its handler and returns how long a retry waits for its answer from then on.
func (db *database) crash(ctx context.Context, engine *idempotency.Engine, c crash) (time.Duration, error) {
	end, err := c.start(ctx)
	if err != nil {
		return 0, err
	}
	time.Sleep(mathrand.N(lease)) // anywhere between two renewals
	began := time.Now()
	if err := end(); err != nil {
		return 0, err
	}
	ran := false
	request := db.request()
	request.Key.Value = c.Key
	result, err := engine.Run(ctx, request, c.handler(func() { ran = true }))
	waited := time.Since(began)
	if err == nil && (result.Replayed || !ran || result.Response.Status != 201) {
		err = errors.New("the process was killed, but not inside of its handler")
	}
	return waited, err
}

// start runs the victim until it is inside of its handler. end kills it.
func (c crash) start(ctx context.Context) (end func() error, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), victimVariable+"="+string(encoded))
	cmd.Stderr = os.Stderr
	if _, err = cmd.StdinPipe(); err != nil { // it ends with this process
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	if said, err := bufio.NewReader(out).ReadString('\n'); said != inside {
		_ = end()
		return nil, errors.Join(fmt.Errorf("the process that was to be killed said %q", strings.TrimSpace(said)), err)
	}
	return end, nil
}

// handler pays. there is called at the point of the crash.
func (c crash) handler(there func()) idempotency.Handler {
	if !c.Steps {
		return func(ctx context.Context) (idempotency.Response, error) {
			response, err := payment(ctx, pgstore.Tx(ctx))
			there()
			return response, err
		}
	}
	return func(ctx context.Context) (idempotency.Response, error) {
		paid, err := idempotency.Atomic(ctx, "paid", func(ctx context.Context) (idempotency.Response, error) {
			return payment(ctx, pgstore.Tx(ctx))
		})
		if err != nil {
			return idempotency.Response{}, err
		}
		_, err = idempotency.Foreign(ctx, "told", func(context.Context, string) (bool, error) {
			there()
			return true, nil
		})
		return paid, err
	}
}

// runVictim works on a payment until it is killed.
func runVictim(encoded string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var c crash
	if err := json.Unmarshal([]byte(encoded), &c); err != nil {
		return err
	}
	db := &database{url: c.URL}
	ctx := context.Background()
	pool, err := db.pool(ctx, 2, 0)
	if err != nil {
		return err
	}
	engine, err := engineOn(pool, idempotency.Config{Lease: lease})
	if err != nil {
		return err
	}
	request := db.request()
	request.Key.Value = c.Key
	_, err = engine.Run(ctx, request, c.handler(func() {
		fmt.Print(inside)
		select {}
	}))
	return errors.Join(errors.New("nobody killed this process"), err)
}
