package trial

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/report"
)

const (
	// herdOver is how much longer than one execution and a round trip a herd of 100 may take.
	herdOver = 1.5
	// unmoved is what the 99th percentile of unrelated keys may be of what it is without a herd.
	unmoved = 1.25
	// herdSlow is what a payment takes in the herd whose handler asks somebody else.
	herdSlow = 50 * time.Millisecond
	// herdEnough ends the repetitions of a herd.
	herdEnough = 3 * time.Second
	// unrelated is how many workers pay with keys of their own, over all processes.
	unrelated = 4
	// unrelatedPause is how long each of them rests after a payment, so that what is measured is the herd and not a queue of theirs.
	unrelatedPause = 5 * time.Millisecond
)

// Herd is many requests with one key at once.
type Herd struct {
	Size, Processes int
	// Takes is how long a payment takes beside its statements.
	Takes time.Duration
}

// Herds are those of the report.
var Herds = []Herd{
	{Size: 100, Processes: 1}, {Size: 100, Processes: 2}, {Size: 100, Processes: 2, Takes: herdSlow}, {Size: 100, Processes: 4},
	{Size: 10_000, Processes: 1}, {Size: 10_000, Processes: 4},
}

// stampede is what came of a herd, over its repetitions.
type stampede struct {
	runs, effects     int64 // payments begun, and made; the most of any repetition
	right, unanswered int   // equal answers, the fewest; and missing ones, the most
	held              int   // connections in use at a time, the most, over all processes
	wall              []float64
	one, trip         float64 // milliseconds: one execution alone, and a round trip
	quiet, beside     float64 // milliseconds: the 99th percentile of unrelated keys without and with Herds
}

func (b *Bench) herds(ctx context.Context) (report.Part, error) {
	trip, _, err := b.Site.RoundTrips(ctx)
	if err != nil {
		return report.Part{}, err
	}
	takesPart := func(kind contender.Kind) bool {
		return kind.Replays && speeding(kind) && kind.Name != "onlyonce-http"
	}
	part := report.Part{Name: "herd"}
	for _, h := range b.Herds {
		found := map[string]stampede{}
		for _, kind := range b.present(takesPart) {
			b.Progress("herd of %d over %d: %s", h.Size, h.Processes, kind.Name)
			s, err := b.stampede(ctx, kind, h)
			if err != nil {
				return part, fmt.Errorf("herd of %d, %s: %w", h.Size, kind.Name, err)
			}
			s.trip = milliseconds(trip)
			found[kind.Name] = s
		}
		part.Tables = append(part.Tables, b.herdTable(h, takesPart, found))
		if s, ran := found["onlyonce"]; ran {
			part.Goals = append(part.Goals, h.goals(s)...)
		}
	}
	return part, nil
}

func (h Herd) String() string {
	over := "in one process"
	if h.Processes > 1 {
		over = fmt.Sprintf("over %d processes", h.Processes)
	}
	says := fmt.Sprintf("herd of %d %s", h.Size, over)
	if h.Takes > 0 {
		says += fmt.Sprintf(", payment takes %v", h.Takes)
	}
	return says
}

func (b *Bench) herdTable(h Herd, takesPart func(contender.Kind) bool, found map[string]stampede) report.Table {
	t := report.Table{
		Title: "H" + h.String()[1:],
		Head: []string{"contender", "begun", "paid", "equal answers", "unanswered", "connections held", "wall ms", "one alone ms",
			"unrelated p99 ms", "beside the herd ms"},
	}
	t.Rows = b.rows(len(t.Head)-1, takesPart, func(kind contender.Kind) []string {
		s := found[kind.Name]
		return []string{fmt.Sprint(s.runs), fmt.Sprint(s.effects), fmt.Sprint(s.right), fmt.Sprint(s.unanswered), fmt.Sprint(s.held),
			fmt.Sprintf("%.1f", measure.Median(s.wall)), fmt.Sprintf("%.1f", s.one), fmt.Sprintf("%.1f", s.quiet), fmt.Sprintf("%.1f", s.beside)}
	})
	return t
}

func (h Herd) goals(s stampede) []report.Goal {
	wall, bound := measure.Median(s.wall), herdOver*(s.one+s.trip)
	goals := []report.Goal{{
		Says: h.String() + ": executions, right answers", Wanted: fmt.Sprintf("1, %d", h.Size),
		Measured: fmt.Sprintf("%d, %d", max(s.runs, s.effects), s.right), Reached: s.runs == 1 && s.effects == 1 && s.right == h.Size,
	}, {
		Says: h.String() + ": connections held", Wanted: fmt.Sprintf("≤ %d, one a process", h.Processes),
		Measured: fmt.Sprint(s.held), Reached: s.held <= h.Processes,
	}, {
		Says: h.String() + ": p99 of unrelated keys, with ÷ without the herd", Wanted: fmt.Sprintf("≤ %.2f", unmoved),
		Measured: fmt.Sprintf("%.2f (%.1f ms ÷ %.1f ms)", s.beside/s.quiet, s.beside, s.quiet), Reached: s.beside <= unmoved*s.quiet,
	}}
	if h.Size == 100 && h.Processes == 2 {
		goals = append(goals, report.Goal{
			Says: h.String() + ": wall time", Wanted: fmt.Sprintf("≤ %.1f × (one execution + a round trip) = %.1f ms", herdOver, bound),
			Measured: fmt.Sprintf("%.1f ms", wall), Reached: wall <= bound,
		})
	}
	return goals
}

// stampede runs a herd again and again.
func (b *Bench) stampede(ctx context.Context, kind contender.Kind, h Herd) (s stampede, err error) {
	if err := b.Site.Forget(ctx); err != nil {
		return s, err
	}
	var processes []*shepherd
	defer func() {
		for _, p := range processes {
			p.process.Kill()
		}
	}()
	for i := range h.Processes {
		p, err := startShepherd(ctx, herdOrder{Coordinates: b.Site.Coordinates, Kind: kind.Name, Process: strconv.Itoa(i), Takes: h.Takes})
		if err != nil {
			return s, err
		}
		processes = append(processes, p)
	}
	for range 2 { // the first warms up
		for _, p := range processes {
			one, err := p.call(herdCommand{Do: "one", N: 20})
			if err != nil {
				return s, err
			}
			s.one = one.P50
		}
	}
	s.right = h.Size
	for began := time.Now(); len(s.wall) < b.Rounds && (len(s.wall) == 0 || time.Since(began) < herdEnough); {
		if err := b.once(ctx, processes, h, &s); err != nil {
			return s, err
		}
	}
	return s, b.besides(ctx, processes, h, &s)
}

// once sends one herd.
func (b *Bench) once(ctx context.Context, processes []*shepherd, h Herd, s *stampede) error {
	key, at := measure.RandomKey(), time.Now().Add(50*time.Millisecond+time.Duration(h.Size)*20*time.Microsecond)
	replies, err := callAll(processes, func(i int) herdCommand {
		return herdCommand{Do: "herd", Key: key, N: (h.Size + i) / h.Processes, At: at}
	})
	if err != nil {
		return err
	}
	answers := map[string]int{}
	var runs int64
	var unanswered, held int
	began, ended := replies[0].Began, replies[0].Ended
	for _, reply := range replies {
		for body, n := range reply.Answers {
			answers[body] += n
		}
		runs += reply.Runs
		unanswered += reply.Unanswered
		held += reply.Held
		if reply.Began.Before(began) {
			began = reply.Began
		}
		if reply.Ended.After(ended) {
			ended = reply.Ended
		}
	}
	right := 0
	for _, n := range answers {
		right = max(right, n)
	}
	var effects int64
	if err := b.Site.Admin.QueryRow(ctx, `SELECT count(*) FROM payments WHERE key = $1`, key).Scan(&effects); err != nil {
		return err
	}
	s.runs, s.effects = max(s.runs, runs), max(s.effects, effects)
	s.right, s.unanswered, s.held = min(s.right, right), max(s.unanswered, unanswered), max(s.held, held)
	s.wall = append(s.wall, milliseconds(ended.Sub(began)))
	return nil
}

// besides measures unrelated keys, without herds and with one after the other.
func (b *Bench) besides(ctx context.Context, processes []*shepherd, h Herd, s *stampede) error {
	load := func() (float64, error) {
		replies, err := callAll(processes, func(int) herdCommand {
			return herdCommand{Do: "load", N: max(1, unrelated/h.Processes), Length: 2 * b.Length}
		})
		slowest := 0.0
		for _, reply := range replies {
			if reply.Error != "" {
				err = errors.Join(err, errors.New(reply.Error))
			}
			slowest = max(slowest, reply.P99)
		}
		return slowest, err
	}
	var quiet, beside []float64
	for range max(1, b.Rounds/4) {
		p99, err := load()
		if err != nil {
			return err
		}
		quiet = append(quiet, p99)
		loaded := make(chan error, 1)
		go func() {
			p99, err := load()
			beside = append(beside, p99)
			loaded <- err
		}()
		for running := true; running; {
			var ignored stampede
			if err := b.once(ctx, processes, h, &ignored); err != nil {
				<-loaded
				return err
			}
			select {
			case err := <-loaded:
				if err != nil {
					return err
				}
				running = false
			default:
			}
		}
	}
	s.quiet, s.beside = measure.Median(quiet), measure.Median(beside)
	return nil
}
