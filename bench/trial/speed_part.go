package trial

import (
	"fmt"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/report"
)

// What fresh keys should cost: throughput divided by plain's at 1, 8 and 32 connections, and 99th percentiles divided by plain's.
var (
	freshLoopback = map[int]float64{1: 0.92, 8: 0.90, 32: 0.88}
	freshFar      = map[int]float64{1: 0.99, 8: 0.98, 32: 0.93}
	tailAt        = map[int]bool{8: true, 32: true}
)

const (
	tailAtMost    = 1.25
	replayAt      = 8
	replayAtLeast = 4.5
)

var titles = map[string]string{
	"fresh":  "Fresh keys",
	"replay": "Replays (plain pays)",
	"mix":    "90 fresh keys to 10 replays (plain pays)",
}

// speedPart makes tables, charts and goals of a scenario.
func (b *Bench) speedPart(s scenario, found map[cell]map[string][]measure.Round) report.Part {
	part := report.Part{Name: s.name}
	speed := report.Chart{File: s.name + ".svg", Title: titles[s.name] + ": throughput ÷ plain pgx"}
	latency := report.Chart{File: s.name + "-latency.svg", Title: titles[s.name] + ": 99th percentile of the time to an answer", Unit: "ms"}
	for _, rtt := range []time.Duration{0, b.RTT} {
		part.Tables = append(part.Tables, b.speedTable(s, rtt, found))
		speed.Panels = append(speed.Panels, b.panel(s, rtt, found, func(mine, base []measure.Round) float64 {
			return measure.Median(measure.Ratios(measure.PerSecond(mine), measure.PerSecond(base)))
		}))
		latency.Panels = append(latency.Panels, b.panel(s, rtt, found, func(mine, _ []measure.Round) float64 {
			return measure.Median(measure.P99s(mine))
		}))
		part.Goals = append(part.Goals, b.speedGoals(s, rtt, found)...)
	}
	part.Charts = []report.Chart{speed}
	if s.name == "fresh" {
		part.Charts = append(part.Charts, latency)
	}
	return part
}

func (b *Bench) speedTable(s scenario, rtt time.Duration, found map[cell]map[string][]measure.Round) report.Table {
	t := report.Table{Title: titles[s.name] + ", " + distance(rtt), Head: []string{"contender"}, Safety: true}
	for _, n := range b.Connections {
		t.Head = append(t.Head, fmt.Sprintf("÷ plain, %d conn.", n))
	}
	for _, n := range b.Connections {
		t.Head = append(t.Head, fmt.Sprintf("/s, %d", n))
	}
	for _, n := range b.Connections {
		t.Head = append(t.Head, fmt.Sprintf("p99 ms, %d", n))
	}
	t.Rows = b.rows(len(t.Head)-1, s.takes, func(kind contender.Kind) []string {
		var ratio, speed, tail []string
		for _, n := range b.Connections {
			rounds := found[cell{rtt, n}]
			mine, base := rounds[kind.Name], rounds[contender.Baseline]
			ratio = append(ratio, fmt.Sprintf("%.2f", measure.Median(measure.Ratios(measure.PerSecond(mine), measure.PerSecond(base)))))
			speed = append(speed, fmt.Sprintf("%.0f", measure.Median(measure.PerSecond(mine))))
			tail = append(tail, fmt.Sprintf("%.2f", measure.Median(measure.P99s(mine))))
		}
		return append(append(ratio, speed...), tail...)
	})
	return t
}

func (b *Bench) panel(s scenario, rtt time.Duration, found map[cell]map[string][]measure.Round, value func(mine, base []measure.Round) float64) report.Panel {
	panel := report.Panel{Title: distance(rtt)}
	for _, n := range b.Connections {
		panel.Groups = append(panel.Groups, fmt.Sprintf("%d conn.", n))
	}
	for _, kind := range b.present(s.takes) {
		series := report.Series{Name: kind.Name}
		for _, n := range b.Connections {
			rounds := found[cell{rtt, n}]
			series.Values = append(series.Values, value(rounds[kind.Name], rounds[contender.Baseline]))
		}
		panel.Series = append(panel.Series, series)
	}
	return panel
}

// speedGoals are about this library, by Engine.Run.
func (b *Bench) speedGoals(s scenario, rtt time.Duration, found map[cell]map[string][]measure.Round) []report.Goal {
	const us = "onlyonce"
	atLeast := freshLoopback
	if rtt > 0 {
		atLeast = freshFar
	}
	var goals []report.Goal
	for _, n := range b.Connections {
		rounds := found[cell{rtt, n}]
		mine, base := rounds[us], rounds[contender.Baseline]
		ratios := measure.Ratios(measure.PerSecond(mine), measure.PerSecond(base))
		if len(ratios) == 0 {
			continue
		}
		if least, wanted := atLeast[n]; wanted && s.name == "fresh" {
			goals = append(goals, goalAtLeast(fmt.Sprintf("fresh ÷ plain, %s, %d connections", distance(rtt), n), least, ratios))
		}
		if s.name == "fresh" && tailAt[n] {
			tails := measure.Ratios(measure.P99s(mine), measure.P99s(base))
			goals = append(goals, goalAtMost(fmt.Sprintf("fresh p99 ÷ plain p99, %s, %d connections", distance(rtt), n), tailAtMost, tails))
		}
		if s.name == "replay" && rtt == 0 && n == replayAt {
			goals = append(goals, goalAtLeast(fmt.Sprintf("replay from PostgreSQL ÷ plain fresh, %d connections", n), replayAtLeast, ratios))
		}
	}
	return goals
}

func goalAtLeast(says string, least float64, values []float64) report.Goal {
	return report.Goal{Says: says, Wanted: fmt.Sprintf("≥ %.2f", least), Measured: spread(values), Reached: measure.Median(values) >= least}
}

func goalAtMost(says string, most float64, values []float64) report.Goal {
	return report.Goal{Says: says, Wanted: fmt.Sprintf("≤ %.2f", most), Measured: spread(values), Reached: measure.Median(values) <= most}
}
