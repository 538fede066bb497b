package mutants

import (
	"time"

	"github.com/onlyonce/onlyonce/integration/torture"
)

// Conditions are a run of the torture, directed at one weakness. The same servers without a bug must come through it.
type Conditions struct {
	Name   string
	config torture.Config
}

var (
	// duplicates: many clients ask for few keys, at once and just when somebody else commits. Nothing breaks.
	duplicates = Conditions{"duplicates", torture.Config{
		Faults: []string{}, Work: torture.Work{Payments: 1, Reads: 5, Bursts: 90, Spread: 3},
	}}
	// refusals: the same for operations that end by a no.
	refusals = Conditions{"refusals", torture.Config{
		Faults: []string{}, Work: torture.Work{Refusals: 1, Bursts: 95, Spread: 3},
	}}
	// vanishing: clients go away, nothing else breaks.
	vanishing = Conditions{"vanishing clients", torture.Config{
		Faults: []string{"vanish"}, Work: torture.Work{Payments: 1, Reads: 5, Bursts: 30, Spread: 3},
	}}
	// crashes: servers and backends die, and connections, before they have committed.
	crashes = Conditions{"crashes", torture.Config{
		Faults: []string{"kill", "terminate", "cut-before-commit", "reset"}, Pace: 100 * time.Millisecond,
		Work: torture.Work{Payments: 1, Reads: 10, Bursts: 30, Spread: 3},
	}}
	// lostReplies: connections break around COMMIT.
	lostReplies = Conditions{"lost replies", torture.Config{
		Faults: []string{"cut-before-commit", "cut-after-commit", "late-commit", "kill"}, Pace: 100 * time.Millisecond,
		Work: torture.Work{Payments: 1, Reads: 5, Bursts: 30, Spread: 3},
	}}
	// zombies: servers stand still until their leases are over, and come back.
	zombies = Conditions{"zombies", torture.Config{
		Faults: []string{"stop"}, Work: torture.Work{Cards: 1, Reads: 5, Bursts: 50, Spread: 1},
	}}
	// clocks: those of the servers are set, by hours.
	clocks = Conditions{"clocks", torture.Config{
		Faults: []string{"clock"}, Pace: 200 * time.Millisecond, Work: torture.Work{Payments: 3, Refusals: 1, Late: 30, Bursts: 30, Spread: 3},
	}}
	// abandoned: chains lose their servers between two steps.
	abandoned = Conditions{"abandoned chains", torture.Config{
		Faults: []string{"kill"}, Pace: 300 * time.Millisecond, Work: torture.Work{Cards: 1, Reads: 5, Bursts: 30, Spread: 3},
	}}
)
