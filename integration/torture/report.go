package torture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onlyonce/onlyonce/integration/history"
)

// Report is what came of a run.
type Report struct {
	Verdict history.Verdict
	// Complaints are what should not happen to servers that nobody touched, or to the torture itself.
	Complaints []string
	// Folder has the history and what the servers said on standard error. It is empty if nothing was found and it is gone.
	Folder string

	Seed     uint64
	Duration time.Duration
	Database string
	// Attempts are the requests of clients, and Answers says how they were answered.
	Attempts int
	Answers  map[string]int
	// Keys is how many operations there were.
	Keys   int
	Faults []FaultCount
	// ReadBacks are commits whose reply was lost and whose outcome the server looked up; Happened of them had happened.
	ReadBacks, Happened int
	// SingleRecovery and ChainRecovery are how long it took from an attempt that came to nothing, by no fault of the client's, to the
	// final answer: of operations in one transaction, and of chains, which have a lease to wait for.
	SingleRecovery, ChainRecovery Recovery
}

// FaultCount is how often a fault struck.
type FaultCount struct {
	Name string
	// Fired is how often something was really broken, and Missed how often there was nothing to break just then.
	Fired, Missed int
	// Impossible is why it cannot strike here, or nil.
	Impossible error
}

// Recovery is how long recoveries took.
type Recovery struct {
	N             int
	P50, P99, Max time.Duration
}

// Clean reports whether everything was as it must be.
func (r Report) Clean() bool { return r.Verdict.Clean() && len(r.Complaints) == 0 }

// report counts. The caller holds mu.
func (w *world) report(h history.History, impossible map[string]error) Report {
	r := Report{
		Verdict: history.Check(h), Seed: w.config.Seed, Duration: w.config.Duration, Database: w.database.how,
		Attempts: len(h.Attempts), Answers: map[string]int{}, ReadBacks: w.readBacks[0] + w.readBacks[1], Happened: w.readBacks[1],
	}
	r.Keys = r.Verdict.Keys
	for _, a := range h.Attempts {
		r.Answers[answerOf(a)]++
	}
	for _, f := range faults() {
		if slices.Contains(w.config.Faults, f.name) {
			r.Faults = append(r.Faults, FaultCount{f.name, w.fired[f.name], w.missed[f.name], impossible[f.name]})
		}
	}
	r.SingleRecovery = recovery(h.Attempts, func(k history.Kind) bool { return k != history.Card })
	r.ChainRecovery = recovery(h.Attempts, func(k history.Kind) bool { return k == history.Card })
	return r
}

func answerOf(a history.Attempt) string {
	switch {
	case a.Read:
		return "reads"
	case !a.Answered && a.Vanished:
		return "none, as the client went away"
	case !a.Answered:
		return "none"
	case a.Replayed:
		return fmt.Sprintf("%d, replayed", a.Status)
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, a.Code))
}

// recovery measures from the end of the first attempt of a client that broke to the end of that which it was answered by.
func recovery(attempts []history.Attempt, of func(history.Kind) bool) (r Recovery) {
	type asked struct {
		client int
		key    string
	}
	broken := map[asked]time.Duration{}
	var took []time.Duration
	ordered := slices.SortedFunc(slices.Values(attempts), func(a, b history.Attempt) int { return cmp.Compare(a.End, b.End) })
	for _, a := range ordered {
		if a.Read || !of(a.Kind) {
			continue
		}
		who := asked{a.Client, a.Key}
		since, hurt := broken[who]
		switch {
		case a.Final() && hurt:
			took = append(took, a.End-since)
			delete(broken, who)
		case !hurt && !a.Vanished && (!a.Answered || a.Status >= 500):
			broken[who] = a.End
		}
	}
	if len(took) == 0 {
		return r
	}
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[min(len(took)-1, len(took)*percent/100)] }
	return Recovery{N: len(took), P50: at(50), P99: at(99), Max: took[len(took)-1]}
}

// String is the table that a run ends with.
func (r Report) String() string {
	var s strings.Builder
	table := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	row := func(what string, figure any) { fmt.Fprintf(table, "%s\t%v\n", what, figure) }
	row("seed", r.Seed)
	row("database", r.Database)
	row("keys", r.Keys)
	row("requests", r.Attempts)
	for _, answer := range slices.Sorted(maps.Keys(r.Answers)) {
		row("  answered "+answer, r.Answers[answer])
	}
	row("faults", "")
	for _, f := range r.Faults {
		if f.Impossible != nil {
			row("  "+f.Name, "not possible here: "+f.Impossible.Error())
			continue
		}
		row("  "+f.Name, f.Fired)
	}
	row("lost commit replies that servers looked up", fmt.Sprintf("%d, of which %d had happened", r.ReadBacks, r.Happened))
	row("unknown outcomes resolved", fmt.Sprintf("%d, of which %d had happened", r.Verdict.Unknown, r.Verdict.Effective))
	row("duplicates", r.Verdict.Duplicates)
	row("lost", r.Verdict.Lost)
	row("stuck", r.Verdict.Stuck)
	row("recovery, one transaction", r.SingleRecovery)
	row("recovery, chain", r.ChainRecovery)
	_ = table.Flush()
	for _, complaint := range r.Complaints {
		fmt.Fprintln(&s, "complaint:", complaint)
	}
	fmt.Fprintln(&s, strings.TrimSpace(r.Verdict.String()))
	if r.Folder != "" {
		fmt.Fprintln(&s, "the history is in", r.Folder)
	}
	return s.String()
}

func (r Recovery) String() string {
	if r.N == 0 {
		return "none was needed"
	}
	return fmt.Sprintf("p50 %v, p99 %v, longest %v, of %d", round(r.P50), round(r.P99), round(r.Max), r.N)
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
