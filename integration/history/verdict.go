package history

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict is what [Check] found.
type Verdict struct {
	Violations []Violation
	// Keys is how many were checked.
	Keys int
	// Duplicates are keys with more than one effect: payments, rows of a step, or charges. Lost are successes whose effect is
	// not there. Stuck are keys that nobody could bring to an end.
	Duplicates, Lost, Stuck int
	// Unknown is how many attempts were not told their outcome, and Effective how many of those turned out to have the effect.
	Unknown, Effective int
}

// Violation is a rule that is broken.
type Violation struct {
	Rule Rule
	// Key is empty where it is about all of them.
	Key  string
	What string
	// Attempts are those concerned, in the order in which they began.
	Attempts []Attempt
}

// Clean reports whether nothing is broken.
func (v Verdict) Clean() bool { return len(v.Violations) == 0 }

// Broken returns the rules that are broken, each once.
func (v Verdict) Broken() []Rule {
	var broken []Rule
	for _, rule := range Rules {
		if slices.ContainsFunc(v.Violations, func(one Violation) bool { return one.Rule == rule }) {
			broken = append(broken, rule)
		}
	}
	return broken
}

// What is printed is bounded, and what is left out is counted.
const (
	mostOfARule  = 3
	mostAttempts = 12
)

func (v Verdict) String() string {
	if v.Clean() {
		return fmt.Sprintf("clean: %d keys", v.Keys)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "convicted: %d violations in %d keys\n", len(v.Violations), v.Keys)
	for _, rule := range v.Broken() {
		n := 0
		for _, one := range v.Violations {
			if one.Rule != rule {
				continue
			}
			if n++; n <= mostOfARule {
				s.WriteString(one.String())
			}
		}
		if n > mostOfARule {
			fmt.Fprintf(&s, "%s: … and %d more\n", rule, n-mostOfARule)
		}
	}
	return s.String()
}

func (v Violation) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %s", v.Rule, v.What)
	if v.Key != "" {
		fmt.Fprintf(&s, " (key %s)", v.Key)
	}
	s.WriteByte('\n')
	for i, a := range v.Attempts {
		if i == mostAttempts {
			fmt.Fprintf(&s, "    … and %d more\n", len(v.Attempts)-i)
			break
		}
		fmt.Fprintf(&s, "    %s\n", a)
	}
	return s.String()
}

// String is one line.
func (a Attempt) String() string {
	what := fmt.Sprintf("%s of %d", a.Kind, a.Amount)
	if a.Read {
		what = "read"
	}
	return fmt.Sprintf("%9s – %9s client %d, server %d, %s, attempt %s: %s",
		a.Start.Round(time.Millisecond/10), a.End.Round(time.Millisecond/10), a.Client, a.Server, what, a.ID, a.outcome())
}

func (a Attempt) outcome() string {
	switch {
	case a.Vanished && !a.Answered:
		return "no answer, as the client went away"
	case !a.Answered:
		return "no answer"
	case a.Read && a.Status == 200:
		return fmt.Sprintf("%d payments", a.Count)
	case a.Code != "":
		return fmt.Sprintf("%d %s", a.Status, a.Code)
	}
	said := fmt.Sprintf("%d, body %.8s", a.Status, a.Hash)
	if a.Payment != 0 {
		said += fmt.Sprintf(", payment %d", a.Payment)
	}
	if a.Replayed {
		said += ", replayed"
	}
	return said
}
