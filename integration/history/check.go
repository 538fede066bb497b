package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check judges a history.
func Check(h History) Verdict {
	c := &checker{run: h.Run, snapshot: h.Snapshot}
	files := c.files(h)
	c.verdict.Keys = len(files)
	for _, key := range slices.Sorted(maps.Keys(files)) {
		f := files[key]
		c.once(f)
		c.kept(f)
		c.sameBytes(f)
		c.recorded(f)
		c.honest(f)
		c.sensible(f)
		c.unstuck(f)
		c.stepwise(f)
		c.ordered(f)
		if h.Run.Calm {
			c.undisturbed(f)
		}
		c.unknown(f)
	}
	c.whole()
	return c.verdict
}

// checker collects what the rules find.
type checker struct {
	run      Run
	snapshot Snapshot
	verdict  Verdict
}

// file is all that is known of a key.
type file struct {
	key        string
	kind       Kind
	attempts   []Attempt // in the order in which they began
	executions []Execution
	payments   []PaymentRow
	steps      map[string][]StepRow
	charges    map[string][]Charge // by step
	records    []Record
}

func (c *checker) files(h History) map[string]*file {
	files := map[string]*file{}
	of := func(key string) *file {
		f := files[key]
		if f == nil {
			f = &file{key: key, steps: map[string][]StepRow{}, charges: map[string][]Charge{}}
			files[key] = f
		}
		return f
	}
	for _, a := range h.Attempts {
		f := of(a.Key)
		f.kind = a.Kind
		f.attempts = append(f.attempts, a)
	}
	for _, e := range h.Executions {
		f := of(e.Key)
		f.executions = append(f.executions, e)
	}
	for _, p := range h.Snapshot.Payments {
		f := of(p.Key)
		f.payments = append(f.payments, p)
	}
	for _, s := range h.Snapshot.Steps {
		f := of(s.Key)
		f.steps[s.Step] = append(f.steps[s.Step], s)
	}
	for _, charge := range h.Snapshot.Charges {
		f := of(charge.Key)
		f.charges[charge.Step] = append(f.charges[charge.Step], charge)
	}
	for _, r := range h.Snapshot.Records {
		f := of(r.Key)
		f.records = append(f.records, r)
	}
	for _, f := range files {
		slices.SortStableFunc(f.attempts, func(a, b Attempt) int { return cmp.Compare(a.Start, b.Start) })
	}
	return files
}

// convict notes a violation of a key. One that differs from the one before by its attempts alone is added to that.
func (c *checker) convict(rule Rule, f *file, attempts []Attempt, format string, args ...any) {
	v := Violation{Rule: rule, What: fmt.Sprintf(format, args...), Attempts: attempts}
	if f != nil {
		v.Key = f.key
	}
	if n := len(c.verdict.Violations); n > 0 {
		if last := &c.verdict.Violations[n-1]; last.Rule == v.Rule && last.Key == v.Key && last.What == v.What {
			last.Attempts = append(slices.Clip(last.Attempts), attempts...)
			return
		}
	}
	c.verdict.Violations = append(c.verdict.Violations, v)
}

// that returns the attempts for which is holds.
func (f *file) that(is func(Attempt) bool) []Attempt {
	var found []Attempt
	for _, a := range f.attempts {
		if is(a) {
			found = append(found, a)
		}
	}
	return found
}

func (f *file) successes() []Attempt { return f.that(Attempt.Success) }

// effective returns the attempts whose id is in a payment's row.
func (f *file) effective() []Attempt {
	return f.that(func(a Attempt) bool {
		return slices.ContainsFunc(f.payments, func(p PaymentRow) bool { return p.Attempt == a.ID })
	})
}

// ids names payments.
func ids(payments []PaymentRow) string {
	var all []string
	for _, p := range payments {
		all = append(all, fmt.Sprintf("%d by attempt %s", p.ID, p.Attempt))
	}
	return strings.Join(all, ", ")
}

// unknown counts what the clients had to leave open and the database tells.
func (c *checker) unknown(f *file) {
	open := func(a Attempt) bool { return !a.Read && (!a.Answered || a.Code == CodeUnknown) }
	c.verdict.Unknown += len(f.that(open))
	for _, a := range f.effective() {
		if open(a) {
			c.verdict.Effective++
		}
	}
}
