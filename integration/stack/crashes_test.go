package stack

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// crashesVariable asks for every cell of the crash matrix and for the whole storm of card payments: "all", as make crashes sets it.
// Without it a few cells and a small storm are run.
const crashesVariable = "ONLYONCE_CRASHES"

func everyCell(t *testing.T) bool {
	t.Helper()
	asked := os.Getenv(crashesVariable)
	require.Contains(t, []string{"", "all"}, asked, crashesVariable)
	return asked == "all"
}

// beside lets the test run beside others. With all of them the large ones come one after the other, so that their times mean something.
func beside(t *testing.T) {
	t.Helper()
	if !everyCell(t) {
		t.Parallel()
	}
}

// progress tells those who watch.
func progress(format string, args ...any) {
	if os.Getenv(crashesVariable) != "" {
		fmt.Printf(format+"\n", args...)
	}
}

// results are what came of all cells and storms of this run.
var results tally

type tally struct {
	mu                                             sync.Mutex
	cells, kills, stops, payments                  int
	duplicates, lost, stuck, unexercised, unstable int
	longest                                        time.Duration
	where                                          string
}

func (r *tally) add(count func(*tally)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count(r)
}

// answered notes how long it took from a crash to the next correct answer.
func (r *tally) answered(after time.Duration, where string) {
	r.add(func(r *tally) {
		if after > r.longest {
			r.longest, r.where = after, where
		}
	})
}

// print prints the table that make crashes ends with.
func (r *tally) print(out io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if os.Getenv(crashesVariable) == "" || r.kills == 0 {
		return
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, line := range []struct {
		what string
		n    int
	}{
		{"cells of the matrix", r.cells}, {"cells that were not exercised", r.unexercised}, {"SIGKILLs", r.kills}, {"SIGSTOPs", r.stops},
		{"payments checked", r.payments}, {"duplicates", r.duplicates}, {"lost", r.lost}, {"stuck", r.stuck}, {"replays that differed", r.unstable},
	} {
		fmt.Fprintf(table, "%s\t%d\n", line.what, line.n)
	}
	fmt.Fprintf(table, "longest from a crash to the next correct answer\t%v\t%s\n", r.longest.Round(time.Millisecond), r.where)
	_ = table.Flush()
}
