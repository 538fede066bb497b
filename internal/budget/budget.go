// Package budget holds code to a number of allocations, which does not depend on the machine, and measures it by the same cases.
package budget

import "testing"

// Case is something that is done again and again.
type Case struct {
	Name string
	// Allocs is how many allocations it may make, on average.
	Allocs float64
	Run    func()
}

// Check fails for every case that is over its budget, and says which are below: a budget with room in it notices nothing. Under the
// race detector, which allocates by itself and has sync.Pool forget at random, it skips: make allocations runs it without.
func Check(t *testing.T, cases []Case) {
	t.Helper()
	if Racing {
		t.Skip("the race detector changes what is allocated: make allocations runs this without it")
	}
	for _, c := range cases {
		c.Run() // what is made once is not counted
		got := testing.AllocsPerRun(1000, c.Run)
		switch {
		case got > c.Allocs:
			t.Errorf("%s: %.0f allocations, and its budget is %.0f", c.Name, got, c.Allocs)
		case got < c.Allocs:
			t.Logf("%s: %.0f allocations, and its budget is %.0f: lower it", c.Name, got, c.Allocs)
		default:
			t.Logf("%s: %.0f", c.Name, got)
		}
	}
}

// Benchmark measures every case.
func Benchmark(b *testing.B, cases []Case) {
	for _, c := range cases {
		b.Run(c.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Run()
			}
		})
	}
}
