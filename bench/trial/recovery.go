package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"time"

	"github.com/onlyonce/onlyonce/bench/child"
	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/payment"
	"github.com/onlyonce/onlyonce/bench/report"
	"github.com/onlyonce/onlyonce/bench/site"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

const victimRole = "victim"

// victimLease is how long a key with a recovery point belongs to its owner after its last sign of life.
const victimLease = time.Second

// crash is one payment whose owner dies.
type crash struct {
	site.Coordinates
	Key   string
	Steps bool // the handler has recovery points, and dies in its foreign call
}

// recovery measures the time from a crash, a process that is killed inside of its handler, to the answer to a retry that waits.
func (b *Bench) recovery(ctx context.Context) (report.Part, error) {
	place, leave, err := b.Site.Place(ctx, 2)
	if err != nil {
		return report.Part{}, err
	}
	defer leave()
	engine, err := contender.Engine(place, idempotency.Config{Lease: victimLease, Wait: time.Minute})
	if err != nil {
		return report.Part{}, err
	}
	var took [2][]float64
	for n := range b.Crashes {
		b.Progress("recovery: crash %d of %d", n+1, b.Crashes)
		for with, steps := range []bool{false, true} {
			waited, err := b.crash(ctx, engine, crash{Coordinates: b.Site.Coordinates, Key: measure.RandomKey(), Steps: steps})
			if err != nil {
				return report.Part{}, err
			}
			took[with] = append(took[with], milliseconds(waited))
		}
	}
	return report.Part{Name: "recovery", Tables: []report.Table{{
		Title: fmt.Sprintf("From a SIGKILL inside of the handler to the answer of a retry that waits, medians of %d", b.Crashes),
		Head:  []string{"handler", "until the answer", "what is waited for"},
		Rows: [][]string{
			{"without recovery points", fmt.Sprintf("%.0f ms", measure.Median(took[0])), "the lock dies with its connection"},
			{"with recovery points", fmt.Sprintf("%.0f ms", measure.Median(took[1])), fmt.Sprintf("a lease of %v, which is renewed every third of it", victimLease)},
		},
	}}}, nil
}

// crash kills a process inside of its handler and returns how long a retry waits for its answer from then on.
func (b *Bench) crash(ctx context.Context, engine *idempotency.Engine, c crash) (time.Duration, error) {
	victim, err := child.Start(ctx, victimRole, c)
	if err != nil {
		return 0, err
	}
	defer victim.Kill()
	var inside bool
	if err := victim.Hear(&inside); err != nil {
		return 0, err
	}
	time.Sleep(mathrand.N(victimLease)) // anywhere between two renewals
	began := time.Now()
	victim.Kill()
	ran := false
	result, err := engine.Run(ctx, contender.Request(c.Key), c.handler(func() { ran = true }))
	waited := time.Since(began)
	if err == nil && (result.Replayed || !ran || result.Response.Status != payment.Status) {
		err = errors.New("the process was killed, but not inside of its handler")
	}
	return waited, err
}

// handler pays. there is called at the point of the crash.
func (c crash) handler(there func()) idempotency.Handler {
	pay := func(ctx context.Context, inside func()) (idempotency.Response, error) {
		maker := payment.Maker{Inside: inside}
		id, err := maker.Make(ctx, pgstore.Tx(ctx), c.Key)
		return idempotency.Response{Status: payment.Status, Body: payment.Body(id)}, err
	}
	if !c.Steps {
		return func(ctx context.Context) (idempotency.Response, error) { return pay(ctx, there) }
	}
	return func(ctx context.Context) (idempotency.Response, error) {
		paid, err := idempotency.Atomic(ctx, "paid", func(ctx context.Context) (idempotency.Response, error) { return pay(ctx, nil) })
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
func runVictim(order []byte) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var c crash
	if err := json.Unmarshal(order, &c); err != nil {
		return err
	}
	ctx := context.Background()
	place, _, err := c.Place(ctx, 2)
	if err != nil {
		return err
	}
	engine, err := contender.Engine(place, idempotency.Config{Lease: victimLease})
	if err != nil {
		return err
	}
	_, err = engine.Run(ctx, contender.Request(c.Key), c.handler(func() {
		fmt.Println("true") // inside
		select {}
	}))
	return errors.Join(errors.New("nobody killed this process"), err)
}
