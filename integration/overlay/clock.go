package overlay

// Clock gives integration/cmd/tortureserver a wall clock that can be moved: time.Now, for everything in the process, the
// libraries included. The monotonic clock goes on as it does when a machine's time is set, so that timers and durations stay right.
var Clock = []Edit{
	{
		File: "go:time/time.go",
		Old: `//go:linkname Now

// Now returns the current local time.
func Now() Time {
	sec, nsec, mono := runtimeNow()
`,
		New: `//go:linkname moveClock
func moveClock(seconds int64) { clockMoved.Store(seconds) }

var clockMoved atomic.Int64

//go:linkname Now

// Now returns the current local time.
func Now() Time {
	sec, nsec, mono := runtimeNow()
	sec += clockMoved.Load()
`,
	},
	{
		File: "go:time/time.go",
		Old:  "\t\"errors\"\n",
		New:  "\t\"errors\"\n\t\"sync/atomic\"\n",
	},
	{
		File: "integration/cmd/tortureserver/clock.go",
		Old:  "var moveClock func(seconds int64)\n",
		New:  "//go:linkname setClock time.moveClock\nfunc setClock(seconds int64)\n\nvar moveClock = setClock\n",
	},
	{
		File: "integration/cmd/tortureserver/clock.go",
		Old:  "package main\n",
		New:  "package main\n\nimport _ \"unsafe\" // for go:linkname\n",
	},
}
