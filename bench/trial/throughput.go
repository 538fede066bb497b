package trial

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/report"
	"github.com/onlyonce/onlyonce/bench/site"
)

// replayed is how many keys have answers when replays are measured.
const replayed = 200

// one in tenth requests of the mix is a replay.
const tenth = 10

// cell is one column of the comparison.
type cell struct {
	rtt         time.Duration
	connections int
}

// speeds are the rounds of all contenders, by scenario, cell and contender.
type speeds map[string]map[cell]map[string][]measure.Round

// scenario is a way to choose the keys of a contender's requests.
type scenario struct {
	name    string
	shorter time.Duration // its rounds are that much shorter than those of fresh keys
	takes   func(contender.Kind) bool
	do      func(kind contender.Kind, c contender.Contender, keys []string) func(context.Context) error
}

var scenarios = []scenario{
	{"fresh", 1, speeding, func(_ contender.Kind, c contender.Contender, _ []string) func(context.Context) error { return fresh(c) }},
	{"replay", 2, orBaseline, func(kind contender.Kind, c contender.Contender, keys []string) func(context.Context) error {
		if !kind.Replays {
			return fresh(c)
		}
		return replays(c, keys)
	}},
	{"mix", 2, orBaseline, func(kind contender.Kind, c contender.Contender, keys []string) func(context.Context) error {
		if !kind.Replays {
			return fresh(c)
		}
		first, again := fresh(c), replays(c, keys)
		return func(ctx context.Context) error {
			if mathrand.IntN(tenth) == 0 {
				return again(ctx)
			}
			return first(ctx)
		}
	}},
}

func speeding(kind contender.Kind) bool { return !kind.KillsOnly }

func orBaseline(kind contender.Kind) bool {
	return speeding(kind) && (kind.Replays || kind.Name == contender.Baseline)
}

func replays(c contender.Contender, keys []string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.Pay(ctx, keys[mathrand.IntN(len(keys))])
		return err
	}
}

// throughput compares all contenders in turns, for fresh keys, replays and the mix.
func (b *Bench) throughput(ctx context.Context, wanted []string) ([]report.Part, error) {
	asked := slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return !slices.Contains(wanted, s.name) })
	found := speeds{}
	for _, s := range asked {
		found[s.name] = map[cell]map[string][]measure.Round{}
	}
	var lines []string
	for _, rtt := range []time.Duration{0, b.RTT} {
		where, leave := b.Site.Coordinates, func() {}
		if rtt > 0 {
			var err error
			if where, leave, err = where.Far(ctx, rtt); err != nil {
				return nil, err
			}
		}
		err := b.distance(ctx, where, rtt, asked, found)
		if err == nil {
			var line string
			line, err = lineOf(ctx, where, rtt)
			lines = append(lines, line)
		}
		leave()
		if err != nil {
			return nil, err
		}
	}
	var parts []report.Part
	for _, s := range asked {
		part := b.speedPart(s, found[s.name])
		part.Notes = append(part.Notes, lines...)
		parts = append(parts, part)
	}
	return parts, nil
}

func lineOf(ctx context.Context, where site.Coordinates, rtt time.Duration) (string, error) {
	postgres, redis, err := where.RoundTrips(ctx)
	line := fmt.Sprintf("Measured at %s: `SELECT 1` %.2f ms", distance(rtt), milliseconds(postgres))
	if where.Redis != "" {
		line += fmt.Sprintf(", `PING` of Redis %.2f ms", milliseconds(redis))
	}
	return line + ".", err
}

// distance measures all cells at one round-trip time.
func (b *Bench) distance(ctx context.Context, where site.Coordinates, rtt time.Duration, asked []scenario, found speeds) error {
	kinds := b.present(speeding)
	for _, connections := range b.Connections {
		if err := b.Site.Forget(ctx); err != nil {
			return err
		}
		keys, err := b.prepare(ctx, kinds)
		if err != nil {
			return err
		}
		t, err := assemble(ctx, where, connections, "0", kinds)
		if err != nil {
			return err
		}
		for _, s := range asked {
			by, err := b.compare(ctx, s, connections, kinds, t, keys, distance(rtt))
			if err != nil {
				t.dismiss()
				return err
			}
			found[s.name][cell{rtt, connections}] = by
		}
		t.dismiss()
	}
	return nil
}

// prepare has another process, as it were, answer keys for each contender that can replay them.
func (b *Bench) prepare(ctx context.Context, kinds []contender.Kind) (map[string][]string, error) {
	const workers = 8
	t, err := assemble(ctx, b.Site.Coordinates, workers, "before", kinds)
	if err != nil {
		return nil, err
	}
	defer t.dismiss()
	keys := map[string][]string{}
	for i, kind := range kinds {
		if !kind.Replays {
			continue
		}
		for range replayed {
			keys[kind.Name] = append(keys[kind.Name], measure.RandomKey())
		}
		if err := together(ctx, workers, keys[kind.Name], t.members[i].Pay); err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Name, err)
		}
	}
	return keys, nil
}

func (b *Bench) compare(ctx context.Context, s scenario, workers int, all []contender.Kind, t *team, keys map[string][]string, where string) (map[string][]measure.Round, error) {
	var kinds []contender.Kind
	var turns []measure.Turn
	for i, kind := range all {
		if !s.takes(kind) {
			continue
		}
		do := s.do(kind, t.members[i], keys[kind.Name])
		kinds = append(kinds, kind)
		turns = append(turns, func(ctx context.Context, length time.Duration) (measure.Round, error) {
			round, err := measure.Work(ctx, workers, length, do)
			if err != nil {
				err = fmt.Errorf("%s: %w", kind.Name, err)
			}
			return round, err
		})
	}
	turn, of := 0, (b.Rounds+1)*len(turns)
	rounds, err := measure.Interleave(ctx, b.Rounds, b.Length/s.shorter, turns, func() {
		turn++
		b.Progress("%s, %s, %d connections: turn %d of %d", s.name, where, workers, turn, of)
	})
	if err != nil {
		return nil, err
	}
	by := map[string][]measure.Round{}
	for i, kind := range kinds {
		by[kind.Name] = rounds[i]
	}
	return by, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
