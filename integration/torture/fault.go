package torture

import "context"

// fault is one way to break something.
type fault struct {
	name, about string
	// rare faults disturb everybody, and strike in one of three rounds where there are others.
	rare bool
	// possible returns why it is not, here.
	possible func(*world) error
	// strike breaks something, bounded by ctx, and has mended it when it returns. It reports whether it has really come to that. It
	// is nil for what is not scheduled but done by clients.
	strike func(context.Context, *world, Strike) bool
}

func always(*world) error { return nil }

// faults are all of them, in the order in which they are shown.
func faults() []fault {
	return []fault{
		kill, stop, terminate, backend, restart, cutBeforeCommit, cutAfterCommit, lateCommit, delay, reset, halfClose, diskFull, clock, vanish,
	}
}

// Fault describes one for a person.
type Fault struct {
	Name, About string
}

// Faults returns all that there are.
func Faults() []Fault {
	var all []Fault
	for _, f := range faults() {
		all = append(all, Fault{f.name, f.about})
	}
	return all
}

func names(of []fault) []string {
	var all []string
	for _, f := range of {
		all = append(all, f.name)
	}
	return all
}
