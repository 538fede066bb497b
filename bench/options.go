package main

import (
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/trial"
)

// options are what a run measures.
type options struct {
	only, contenders []string
	rounds           int
	length           time.Duration
	kills            int
	seed             uint64
	quick            bool
	docs             string
}

// parse reads the command line. It fails with flag.ErrHelp where help was all that was wanted.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { usage(flags) }
	only := flags.String("only", "", "the parts to measure, with commas between them; empty: all")
	contenders := flags.String("contenders", "", "the contenders to compare, beside "+contender.Baseline+"; empty: all")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds of each comparison; the median counts")
	flags.DurationVar(&o.length, "length", time.Second, "length of a contender's turn in a round with fresh keys; replays have half of it")
	flags.IntVar(&o.kills, "kills", 80, "how often a server is killed under each contender")
	flags.Uint64Var(&o.seed, "seed", 0, "what the moments of the kills are drawn from; 0: another one each time")
	flags.BoolVar(&o.quick, "quick", false, "a smoke test of everything in two minutes: its figures mean nothing, and go to no page")
	flags.StringVar(&o.docs, "docs", "", "the folder whose performance.md and performance/ are rewritten where something was measured; empty: none")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("what is %q? bench -h tells what there is", flags.Arg(0))
	}
	if o.rounds < 1 || o.length < 10*time.Millisecond || o.kills < 1 {
		return o, fmt.Errorf("there must be a round, a kill, and 10ms for a turn")
	}
	var err error
	if o.only, err = choose(*only, parts()); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if o.contenders, err = choose(*contenders, names()); err != nil {
		return o, fmt.Errorf("-contenders: %w", err)
	}
	if o.seed == 0 {
		o.seed = mathrand.Uint64N(1e6) + 1
	}
	if o.quick {
		given := map[string]bool{}
		flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
		o.hurry(given)
	}
	return o, nil
}

// hurry shortens what was not asked for.
func (o *options) hurry(given map[string]bool) {
	o.docs = ""
	if !given["rounds"] {
		o.rounds = 1
	}
	if !given["length"] {
		o.length = 150 * time.Millisecond
	}
	if !given["kills"] {
		o.kills = 3
	}
}

func choose(list string, all []string) ([]string, error) {
	if list == "" {
		return all, nil
	}
	var chosen []string
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no %q, but %s", name, strings.Join(all, ", "))
		}
		chosen = append(chosen, name)
	}
	return chosen, nil
}

func parts() (names []string) {
	for _, t := range trial.Trials {
		names = append(names, t.Parts...)
	}
	return names
}

func names() (names []string) {
	for _, kind := range contender.Kinds {
		names = append(names, kind.Name)
	}
	return names
}

func usage(flags *flag.FlagSet) {
	out := flags.Output()
	fmt.Fprint(out, `bench measures a protected payment against the same payment on plain pgx, and against what else people use.

It makes schemas of its own in the database that DATABASE_URL names, starts redis-server (or uses REDIS_URL), and takes all of it away at
the end, also after Ctrl-C, when it prints what it has. Contenders take turns in every round, since machines are noisy: read the ratios, not the
payments per second.

Usage: DATABASE_URL=postgres://… bench [flags]

	make bench                                     everything but growth, docs/performance.md included: 22 minutes
	make bench ARGS='-quick'                       does it run? two minutes
	make bench ARGS='-only fresh -contenders onlyonce -rounds 15'

Parts (-only):
`)
	for _, t := range trial.Trials {
		fmt.Fprintf(out, "  %-20s %s\n", strings.Join(t.Parts, ", "), t.Says)
	}
	fmt.Fprint(out, "\nContenders (-contenders):\n")
	for _, kind := range contender.Kinds {
		fmt.Fprintf(out, "  %-20s %s\n", kind.Name, kind.Says)
	}
	fmt.Fprint(out, "\nFlags:\n")
	flags.PrintDefaults()
}
