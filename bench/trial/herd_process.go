package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/site"
)

const herdRole = "herd"

// herdOrder says what a process of a herd is; after it come herdCommands on stdin, each answered by a herdReply on stdout.
type herdOrder struct {
	site.Coordinates
	Kind    string
	Process string
	Takes   time.Duration // a payment, beside its statements
}

// herdConnections is the size of the pool of each process.
const herdConnections = 8

// herdPatience is how long a client of the herd goes on asking.
const herdPatience = 20 * time.Second

// herdCommand is one of: send a herd of N requests with Key at the moment At, pay with fresh keys by N workers for Length,
// or make N payments one after the other.
type herdCommand struct {
	Do     string // herd, load, one
	ID     int
	Key    string
	N      int
	At     time.Time
	Length time.Duration
}

// herdReply is what came of it. Commands may overlap, so that replies come in any order.
type herdReply struct {
	ID         int
	Error      string
	Answers    map[string]int // how often each body was the answer
	Unanswered int
	Runs       int64     // payments begun, of the herd's key or not
	Held       int       // the most connections in use at a time; below 0: not known
	Began      time.Time // the herd, which the machine may wake a little later than at its moment
	Ended      time.Time
	P50, P99   float64 // milliseconds
}

// holder is a contender with connections beside its place's.
type holder interface{ Held() int }

// runHerd does what it is told until its stdin ends.
func runHerd(order []byte) error {
	var o herdOrder
	if err := json.Unmarshal(order, &o); err != nil {
		return err
	}
	kind, known := contender.Find(o.Kind)
	if !known {
		return fmt.Errorf("no contender %q", o.Kind)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	place, leave, err := o.Place(ctx, herdConnections)
	if err != nil {
		return err
	}
	defer leave()
	place.Process, place.Wait, place.Payments.Takes = o.Process, herdPatience, o.Takes
	pays, err := kind.Open(ctx, place)
	if err != nil {
		return err
	}
	defer pays.Close()
	h := &herdProcess{place: place, pays: pays}
	out := json.NewEncoder(os.Stdout)
	var mu sync.Mutex
	var all sync.WaitGroup
	defer all.Wait()
	for in := json.NewDecoder(os.Stdin); ; {
		var command herdCommand
		if in.Decode(&command) != nil {
			stop()
			return nil
		}
		all.Go(func() {
			reply := h.do(ctx, command)
			reply.ID = command.ID
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(reply)
		})
	}
}

type herdProcess struct {
	place contender.Place
	pays  contender.Contender
}

func (h *herdProcess) do(ctx context.Context, command herdCommand) herdReply {
	var reply herdReply
	var round measure.Round
	var err error
	switch command.Do {
	case "herd":
		return h.herd(ctx, command)
	case "load":
		round, err = h.load(ctx, command)
	case "one":
		var times []time.Duration
		for range command.N {
			began := time.Now()
			if err = fresh(h.pays)(ctx); err != nil {
				break
			}
			times = append(times, time.Since(began))
		}
		round.P50 = milliseconds(measure.Quantile(times, 0.5))
	default:
		err = fmt.Errorf("no command %q", command.Do)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	reply.P50, reply.P99 = round.P50, round.P99
	return reply
}

// load pays with fresh keys at leisure. Its figures are of the payments, not of the pauses between them.
func (h *herdProcess) load(ctx context.Context, command herdCommand) (measure.Round, error) {
	var mu sync.Mutex
	var times []time.Duration
	pay := fresh(h.pays)
	_, err := measure.Work(ctx, command.N, command.Length, func(ctx context.Context) error {
		began := time.Now()
		err := pay(ctx)
		took := time.Since(began)
		mu.Lock()
		times = append(times, took)
		mu.Unlock()
		time.Sleep(unrelatedPause)
		return err
	})
	return measure.Round{P50: milliseconds(measure.Quantile(times, 0.5)), P99: milliseconds(measure.Quantile(times, 0.99))}, err
}

// herd has N clients send one key at one moment.
func (h *herdProcess) herd(ctx context.Context, command herdCommand) herdReply {
	reply := herdReply{Answers: map[string]int{}, Held: -1}
	began := h.place.Payments.Runs()
	var mu sync.Mutex
	var all sync.WaitGroup
	gate := make(chan struct{})
	for range command.N {
		all.Go(func() {
			<-gate
			body, err := h.persist(ctx, command.Key)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				reply.Unanswered++
				reply.Error = err.Error()
				return
			}
			reply.Answers[string(body)]++
		})
	}
	watched := make(chan struct{})
	var watching sync.WaitGroup
	time.Sleep(time.Until(command.At))
	watching.Go(func() { reply.Held = h.watch(watched) })
	reply.Began = time.Now()
	close(gate)
	all.Wait()
	reply.Ended = time.Now()
	close(watched)
	watching.Wait()
	reply.Runs = h.place.Payments.Runs() - began
	if reply.Unanswered == 0 {
		reply.Error = ""
	}
	return reply
}

// persist is a client that is told to come back, and does.
func (h *herdProcess) persist(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, herdPatience)
	defer cancel()
	pause := 2 * time.Millisecond
	for {
		body, err := h.pays.Pay(ctx, key)
		if !errors.Is(err, contender.ErrBusy) {
			return body, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause/2 + mathrand.N(pause)):
		}
		pause = min(2*pause, 200*time.Millisecond)
	}
}

// watch returns the most connections in use at a time.
func (h *herdProcess) watch(until <-chan struct{}) int {
	now := func() int { return int(h.place.Pool.Stat().AcquiredConns()) }
	if own, has := h.pays.(holder); has {
		now = own.Held
	}
	ticker := time.NewTicker(500 * time.Microsecond)
	defer ticker.Stop()
	most := 0
	for {
		most = max(most, now())
		select {
		case <-until:
			return most
		case <-ticker.C:
		}
	}
}
