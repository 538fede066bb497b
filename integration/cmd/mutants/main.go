// Command mutants plants bugs into the servers of the torture, one at a time, and reports whether the checker convicts each.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/integration/mutants"
)

const usage = `mutants is the trial of the torture's checker. It builds servers with a bug in them, such as a missing lock, a reply before the commit
or an owner token that nobody compares, has the torture run them under the conditions under which that matters, and expects a
conviction from what clients and database remember. A mutant that comes through is a hole in the checker. The servers as they are
run under the same conditions, and must come through.

	mutants                     all of them: about ten minutes
	mutants -run lock           those whose names match
	mutants -list               what there is

It starts a PostgreSQL of its own, as the torture does. The histories of the runs that found something are kept in the
folder that is named at the end. Exit code: 0 if every mutant was convicted and the unchanged servers were not, 1 if not, 2 if
it could not be run, 130 if it was interrupted.

Flags:
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	trial := mutants.Trial{}
	flags.StringVar(&trial.Root, "root", ".", "the repository's `folder`")
	flags.DurationVar(&trial.Length, "length", 12*time.Second, "how long a run is")
	flags.IntVar(&trial.Runs, "runs", 3, "how many runs a mutant must come through to be acquitted; the unchanged servers run as often")
	flags.Uint64Var(&trial.Seed, "seed", 1, "what the first run draws from; the next ones from the numbers after it")
	named := flags.String("run", ".", "try those whose names match the `expression`")
	list := flags.Bool("list", false, "list the mutants")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "mutants: what is %q? mutants -h tells what there is\n", flags.Arg(0))
		return 2
	}
	chosen, err := choose(*named)
	if err != nil {
		fmt.Fprintln(stderr, "mutants:", err)
		return 2
	}
	if *list {
		for _, m := range chosen {
			fmt.Fprintf(stdout, "%-22s %s\n", m.Name, m.Bug)
		}
		return 0
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer cancel()
	if trial.Folder, err = os.MkdirTemp("", "onlyonce-mutants-"); err != nil {
		fmt.Fprintln(stderr, "mutants:", err)
		return 2
	}
	result, err := trial.All(ctx, chosen, func(format string, args ...any) {
		fmt.Fprintf(stderr, "mutants: "+format+"\n", args...)
	})
	switch {
	case ctx.Err() != nil:
		_ = os.RemoveAll(trial.Folder)
		fmt.Fprintln(stderr, "mutants: interrupted")
		return 130
	case err != nil:
		fmt.Fprintln(stderr, "mutants:", err)
		return 2
	}
	fmt.Fprint(stdout, result)
	fmt.Fprintln(stdout, "the histories are in", trial.Folder)
	if !result.Just() {
		return 1
	}
	return 0
}

func choose(named string) ([]mutants.Mutant, error) {
	expression, err := regexp.Compile(named)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var chosen []mutants.Mutant
	for _, m := range mutants.All {
		if expression.MatchString(m.Name) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no mutant's name matches %q: mutants -list shows them", named)
	}
	return chosen, nil
}
