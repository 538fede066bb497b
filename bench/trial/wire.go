package trial

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/report"
	"github.com/onlyonce/onlyonce/bench/site"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// samples are how often round trips are counted: the least counts, as some contenders ask for more from time to time.
const samples = 5

// wire counts, with everything prepared, the round trips of a payment and of a replay.
func (b *Bench) wire(ctx context.Context) (report.Part, error) {
	table := report.Table{
		Title: "Round trips, one after the other",
		Head:  []string{"contender", "fresh: PostgreSQL", "fresh: Redis", "replay: PostgreSQL", "replay: Redis"},
	}
	counts := map[string][]string{}
	for _, kind := range b.present(anyKind) {
		b.Progress("round trips: %s", kind.Name)
		cells, err := b.roundTrips(ctx, kind)
		if err != nil {
			return report.Part{}, fmt.Errorf("%s: %w", kind.Name, err)
		}
		counts[kind.Name] = cells
	}
	table.Rows = b.rows(len(table.Head)-1, anyKind, func(kind contender.Kind) []string { return counts[kind.Name] })
	return report.Part{Name: "wire", Tables: []report.Table{table}}, nil
}

func (b *Bench) roundTrips(ctx context.Context, kind contender.Kind) ([]string, error) {
	proxy, err := wireproxy.Listen(b.Site.Postgres, wireproxy.Config{})
	if err != nil {
		return nil, err
	}
	defer proxy.Close()
	where := b.Site.Coordinates
	if where.Postgres, err = proxy.URL(where.Postgres); err != nil {
		return nil, err
	}
	t, err := assemble(ctx, where, 1, "0", []contender.Kind{kind})
	if err != nil {
		return nil, err
	}
	defer t.dismiss()
	redis, leave, err := watchRedis(ctx, b.Site.Coordinates)
	if err != nil {
		return nil, err
	}
	defer leave()

	var cells []string
	key := measure.RandomKey()
	pays := []func() error{
		func() error { return fresh(t.members[0])(ctx) },
		func() error { _, err := t.members[0].Pay(ctx, key); return err },
	}
	if !kind.Replays {
		pays = pays[:1]
	}
	for _, pay := range pays {
		leastPostgres, leastRedis := -1, -1
		for range 2 { // the first prepares, and makes the payment that is replayed
			if err := pay(); err != nil {
				return nil, err
			}
		}
		for range samples {
			proxy.Forget()
			before, err := redis()
			if err != nil {
				return nil, err
			}
			if err := pay(); err != nil {
				return nil, err
			}
			asked := proxy.RoundTrips()
			after, err := redis()
			if err != nil {
				return nil, err
			}
			// The question itself is a command.
			leastPostgres, leastRedis = least(leastPostgres, asked), least(leastRedis, max(after-before-1, 0))
		}
		cells = append(cells, strconv.Itoa(leastPostgres), strconv.Itoa(leastRedis))
	}
	for len(cells) < 4 {
		cells = append(cells, "–")
	}
	return cells, nil
}

func least(so, now int) int {
	if so < 0 || now < so {
		return now
	}
	return so
}

// watchRedis returns what reads how many commands the server has processed; without a server it is 0.
func watchRedis(ctx context.Context, where site.Coordinates) (commands func() (int, error), leave func(), err error) {
	place, leave, err := where.Place(ctx, 1)
	if err != nil {
		return nil, nil, err
	}
	return func() (int, error) {
		if place.Redis == nil {
			return 0, nil
		}
		info, err := place.Redis.Info(ctx, "stats").Result()
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(info, "total_commands_processed:")
		number, _, _ := strings.Cut(rest, "\r")
		return strconv.Atoi(number)
	}, leave, nil
}
