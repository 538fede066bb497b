package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/integration/torture"
)

const usage = `torture runs a payments service on a few servers, with many clients who all want the same, and breaks what it can: it kills and
stops servers, cuts their connections to the database before and after a COMMIT, kills its backends, restarts it, fills its disk, and sets
the servers' clocks. Then it checks, from what the clients noted and from what the database holds, that every key took effect
once and that nobody was told anything else.

	torture                                    two minutes of everything that is possible here
	torture -duration 30s -faults kill,stop    only these
	torture -faults none                       clients alone: what costs nothing must go without a fault
	torture -faults vanish                     a calm run: clients go away, all else is well, and no handler is run twice
	torture -faults stop -payments 0 -cards 1 -spread 3

The database is a cluster of its own, started from PostgreSQL's server binaries and removed again. Where there are none, it works in a
schema of its own in the database that DATABASE_URL names, or in a container, with the faults that are possible there.

SEED repeats what is drawn: which faults strike, when and where, what keys there are, and what each client draws. It does not repeat
how processes and packets interleave, nor what follows from that: the same seed may find a bug at one time and not at another.

The history of a run that found something is kept, and named at the end; -check judges it again. Exit code: 0 if all is well, 1 if
something was found, 2 if it could not be run, 130 if it was interrupted.

Flags, with the environment variables that set the same:
`

// request is what the command line asks for.
type request struct {
	config torture.Config
	list   bool
	check  string
	root   string
	race   bool
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (asked request, code int, ok bool) {
	flags := flag.NewFlagSet("torture", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	c := &asked.config
	env := func(name, def string) string {
		if set := getenv(name); set != "" {
			return set
		}
		return def
	}
	duration := flags.String("duration", env("DURATION", "2m"), "how long things are broken `(DURATION)`")
	seed := flags.String("seed", env("SEED", ""), "a number to draw everything from `(SEED)`; none: another one each time")
	chosen := flags.String("faults", env("FAULTS", "all"), "which faults strike, separated by commas `(FAULTS)`; all, none; list shows them")
	flags.StringVar(&c.Server, "server", "", "the `program` to torture; none: it is built, which needs the go command and the sources")
	flags.StringVar(&asked.root, "root", ".", "the repository's `folder`, for building the server")
	flags.BoolVar(&asked.race, "race", false, "build the server with the race detector")
	unprotected := flags.Bool("unprotected", false, "have the server leave idempotency out, to see that it is missed")
	lock := flags.String("lock", env("LOCK", ""), "what keeps the servers' attempts off one key `(LOCK)`: local, shard or insert; none: local")
	flags.IntVar(&c.Servers, "servers", 3, "how many servers")
	flags.IntVar(&c.Clients, "clients", 16, "how many clients")
	flags.DurationVar(&c.Pace, "pace", 400*time.Millisecond, "the mean time between two faults")
	flags.DurationVar(&c.Lease, "lease", 0, "the servers' lease; 0: 1s, or 10s if nothing but clients is disturbed")
	flags.IntVar(&c.Work.Payments, "payments", 6, "how many parts of the keys are payments in one transaction")
	flags.IntVar(&c.Work.Refusals, "refusals", 1, "how many parts are refused")
	flags.IntVar(&c.Work.Cards, "cards", 3, "how many parts are card payments, with recovery points")
	flags.IntVar(&c.Work.Reads, "reads", 10, "how many `percent` of what clients do is reading")
	flags.IntVar(&c.Work.Mismatches, "mismatches", 5, "how many `percent` are sent with another body")
	flags.IntVar(&c.Work.Late, "late", 10, "how many `percent` are for any earlier key")
	flags.IntVar(&c.Work.Bursts, "bursts", 35, "how many `percent` are sent several times at once")
	flags.IntVar(&c.Work.Spread, "spread", 4, "how often a key is asked for, on the average, before the next one is opened")
	flags.BoolVar(&c.Keep, "keep", false, "keep the history also of a run that found nothing")
	flags.StringVar(&asked.check, "check", "", "judge the history in a `file`, and torture nobody")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return asked, exitClean, false
		}
		return asked, exitFailed, false
	}
	if err := asked.finish(*duration, *seed, *chosen, flags.Args()); err != nil {
		fmt.Fprintln(stderr, "torture:", err)
		return asked, exitFailed, false
	}
	if *unprotected {
		c.ServerFlags = append(c.ServerFlags, "-unprotected")
	}
	if *lock != "" {
		c.ServerFlags = append(c.ServerFlags, "-lock", *lock)
	}
	return asked, exitClean, true
}

// finish reads what may come from the environment.
func (r *request) finish(duration, seed, chosen string, rest []string) (err error) {
	if len(rest) > 0 {
		return fmt.Errorf("what is %q? torture -h tells what there is", rest[0])
	}
	if r.config.Duration, err = time.ParseDuration(duration); err != nil || r.config.Duration <= 0 {
		return fmt.Errorf("DURATION is %q: write 30s, 2m or 1h", duration)
	}
	r.config.Seed = rand.Uint64N(1_000_000)
	if seed != "" {
		if r.config.Seed, err = strconv.ParseUint(seed, 10, 64); err != nil {
			return fmt.Errorf("SEED is %q: write a whole number", seed)
		}
	}
	switch chosen {
	case "all":
	case "none":
		r.config.Faults = []string{}
	case "list":
		r.list = true
	default:
		for name := range strings.SplitSeq(chosen, ",") {
			r.config.Faults = append(r.config.Faults, strings.TrimSpace(name))
		}
	}
	return nil
}
