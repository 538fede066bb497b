// Package trial has what contenders are put through, each trial in files of its own.
package trial

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/report"
	"github.com/onlyonce/onlyonce/bench/site"
)

// Bench is what all trials have in common.
type Bench struct {
	Site  *site.Site
	Kinds []contender.Kind // those that take part, the baseline first
	// Rounds and Length are of every comparison in turns; the median of the rounds counts.
	Rounds int
	Length time.Duration
	// Seed is what the moments of the kills are drawn from.
	Seed uint64
	// Kills is how often a server is killed under each contender.
	Kills int
	// Connections are those at which throughput is compared, and RTT the round-trip time that is added in its second half.
	Connections []int
	RTT         time.Duration
	// Patience is how long clients go on sending their keys after the last kill, before their payments are called stuck.
	Patience time.Duration
	// Herds are run one after the other.
	Herds []Herd
	// Payments is how many are made to measure bytes of write-ahead log.
	Payments int
	// Crashes is how often recovery is measured.
	Crashes int
	// Progress is told what goes on.
	Progress func(format string, args ...any)
}

// Trial is one entry of the plan: it measures the parts that it names, or those of them that are asked for.
type Trial struct {
	Parts []string
	Says  string
	Run   func(b *Bench, ctx context.Context, wanted []string) ([]report.Part, error)
}

// Trials are all there are, in the order of the report. One that lives in a package of its own, as growth does, is a line here, or in
// the command, and a pair of marks in docs/performance.md.
var Trials = []Trial{
	{[]string{"kills"}, "servers are killed under load: payments made twice, lost, stuck", single((*Bench).kills)},
	{[]string{"fresh", "replay", "mix"}, "throughput and latency, against plain pgx in turns", (*Bench).throughput},
	{[]string{"served"}, "replays over HTTP on loopback, against a handler that does nothing", single((*Bench).served)},
	{[]string{"herd"}, "many requests with one key at once, over one process and several", single((*Bench).herds)},
	{[]string{"wire"}, "round trips of a payment and of a replay", single((*Bench).wire)},
	{[]string{"wal"}, "bytes of write-ahead log of a payment", single((*Bench).wal)},
	{[]string{"recovery"}, "from the death of a server to the answer of the retry", single((*Bench).recovery)},
}

func single(run func(*Bench, context.Context) (report.Part, error)) func(*Bench, context.Context, []string) ([]report.Part, error) {
	return func(b *Bench, ctx context.Context, _ []string) ([]report.Part, error) {
		part, err := run(b, ctx)
		return []report.Part{part}, err
	}
}

// absent says why a contender cannot take part, or nil.
func (b *Bench) absent(kind contender.Kind) error {
	if kind.Redis && b.Site.Redis == "" {
		return b.Site.NoRedis
	}
	return nil
}

// present are those kinds that can take part and meet the condition.
func (b *Bench) present(meets func(contender.Kind) bool) []contender.Kind {
	return slices.DeleteFunc(slices.Clone(b.Kinds), func(kind contender.Kind) bool { return b.absent(kind) != nil || !meets(kind) })
}

// rows returns one row for each contender that meets the condition: its figures, or why there are none.
func (b *Bench) rows(columns int, meets func(contender.Kind) bool, figures func(kind contender.Kind) []string) [][]string {
	var rows [][]string
	for _, kind := range b.Kinds {
		if !meets(kind) {
			continue
		}
		if err := b.absent(kind); err != nil {
			row := append([]string{kind.Name, "not run: " + err.Error()}, make([]string, columns-1)...)
			rows = append(rows, row)
			continue
		}
		rows = append(rows, append([]string{kind.Name}, figures(kind)...))
	}
	return rows
}

// team is the contenders at work at one place.
type team struct {
	members []contender.Contender
	leave   func()
}

// assemble opens the kinds at a place for so many workers.
func assemble(ctx context.Context, where site.Coordinates, workers int, process string, kinds []contender.Kind) (*team, error) {
	place, leave, err := where.Place(ctx, workers)
	if err != nil {
		return nil, err
	}
	place.Process = process
	t := &team{leave: leave}
	for _, kind := range kinds {
		member, err := kind.Open(ctx, place)
		if err != nil {
			t.dismiss()
			return nil, fmt.Errorf("%s: %w", kind.Name, err)
		}
		t.members = append(t.members, member)
	}
	return t, nil
}

func (t *team) dismiss() {
	for _, member := range t.members {
		member.Close()
	}
	t.leave()
}

func fresh(c contender.Contender) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.Pay(ctx, measure.RandomKey())
		return err
	}
}

func anyKind(contender.Kind) bool { return true }

func distance(rtt time.Duration) string {
	if rtt == 0 {
		return "loopback"
	}
	return fmt.Sprintf("%g ms round trip", milliseconds(rtt))
}

// spread writes the median of values, and the least and the greatest.
func spread(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", measure.Median(values), slices.Min(values), slices.Max(values))
}
