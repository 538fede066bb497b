package trial

import (
	"context"
	"fmt"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/report"
)

// walAtMost is how many bytes of write-ahead log a payment may take above plain.
const walAtMost = 350

// walRounds are fewer than in other comparisons: bytes are not as noisy as time.
const walRounds = 3

// walWorkers make the payments that are measured.
const walWorkers = 4

// wal measures the bytes of write-ahead log of a payment, after a warm-up that has written every page once since the last
// checkpoint. Keys in random order split the pages of the primary key in the middle, and keys in the order of time at the end.
func (b *Bench) wal(ctx context.Context) (report.Part, error) {
	kinds := b.present(func(kind contender.Kind) bool { return kind.Wal })
	if err := b.Site.Forget(ctx); err != nil {
		return report.Part{}, err
	}
	if _, err := b.Site.Admin.Exec(ctx, `CHECKPOINT`); err != nil { // for superusers: others measure what comes
		b.Progress("no checkpoint before the write-ahead log is measured: %v", err)
	}
	t, err := assemble(ctx, b.Site.Coordinates, walWorkers, "0", kinds)
	if err != nil {
		return report.Part{}, err
	}
	defer t.dismiss()
	ways := []func() string{measure.RandomKey, measure.OrderedKey}
	bytes := map[string][2][]float64{}
	rounds := min(b.Rounds, walRounds)
	for n := range rounds + 1 {
		for i, kind := range kinds {
			by := bytes[kind.Name]
			for way, key := range ways {
				b.Progress("write-ahead log: round %d of %d, %s", n, rounds, kind.Name)
				each, err := b.walOf(ctx, t.members[i], key)
				if err != nil {
					return report.Part{}, fmt.Errorf("%s: %w", kind.Name, err)
				}
				if n > 0 {
					by[way] = append(by[way], each)
				}
			}
			bytes[kind.Name] = by
		}
	}
	base := bytes[contender.Baseline]
	above := func(kind contender.Kind, way int) float64 {
		return measure.Median(bytes[kind.Name][way]) - measure.Median(base[way])
	}
	table := report.Table{
		Title: "Bytes of write-ahead log of a payment",
		Head:  []string{"contender", "with random keys (UUIDv4)", "above plain", "with keys ordered by time (UUIDv7)", "above plain"},
	}
	inPostgres := func(kind contender.Kind) bool { return kind.Wal }
	table.Rows = b.rows(len(table.Head)-1, inPostgres, func(kind contender.Kind) []string {
		var cells []string
		for way := range ways {
			cells = append(cells, fmt.Sprintf("%.0f", measure.Median(bytes[kind.Name][way])), fmt.Sprintf("%.0f", above(kind, way)))
		}
		return cells
	})
	part := report.Part{Name: "wal", Tables: []report.Table{table}}
	for _, kind := range kinds {
		if kind.Name == "onlyonce" {
			more := above(kind, 0)
			part.Goals = append(part.Goals, report.Goal{Says: "write-ahead log of a fresh request above plain, random keys",
				Wanted: fmt.Sprintf("≤ %d B", walAtMost), Measured: fmt.Sprintf("%.0f B (ordered keys %.0f B)", more, above(kind, 1)), Reached: more <= walAtMost})
		}
	}
	return part, nil
}

func (b *Bench) walOf(ctx context.Context, c contender.Contender, key func() string) (float64, error) {
	const position = `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`
	keys := make([]string, b.Payments)
	for i := range keys {
		keys[i] = key()
	}
	var before, after int64
	if err := b.Site.Admin.QueryRow(ctx, position).Scan(&before); err != nil {
		return 0, err
	}
	if err := together(ctx, walWorkers, keys, c.Pay); err != nil {
		return 0, err
	}
	err := b.Site.Admin.QueryRow(ctx, position).Scan(&after)
	return float64(after-before) / float64(len(keys)), err
}
