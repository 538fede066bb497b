package growth

import (
	"fmt"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/bench/report"
)

// WriteInto puts the tables into a document, between the marks of this name.
func (r Report) WriteInto(file string) error { return report.Insert(file, "growth", r.Markdown()) }

// Report is what Run has measured.
type Report struct {
	Config Config
	Server Server
	Sizes  []Size
	Weeks  []Week
	Beside *Beside
	// Left says which sizes were left out, and why.
	Left []string
}

// Markdown is the report as tables.
func (r Report) Markdown() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("%s; %d connections, medians of %d rounds of %v.", r.Server, r.Config.Connections, r.Config.Rounds, r.Config.Length)
	if len(r.Sizes) > 0 {
		smallest := spell(r.Sizes[0].Keys)
		say("\n| stored keys | fresh /s | fresh ÷ %[1]s | p99 ÷ %[1]s | WAL of one | replays /s | ÷ %[1]s | warm replays /s | ÷ %[1]s | reap 1,000 | ÷ %[1]s |", smallest)
		say("|---|---|---|---|---|---|---|---|---|---|---|")
		for _, s := range r.Sizes {
			say("| %s | %.0f | **%.2f** | %.2f | %.1f kB | %.0f | %.2f | %.0f | %.2f | %s | %.2f |", spell(s.Keys), s.Fresh, s.FreshRelative, s.FreshP99Relative,
				s.FreshWAL/1000, s.Replay, s.ReplayRelative, s.Warm, s.WarmRelative, milliseconds(s.Reap), s.ReapRelative)
		}
		say("\n| stored keys | table | primary key | index on expiry | all | written in |")
		say("|---|---|---|---|---|---|")
		for _, s := range r.Sizes {
			say("| %s | %.0f B a key | %.0f B a key | %.0f B a key | %s | %s |", spell(s.Keys), s.Space.Table, s.Space.PrimaryKey, s.Space.Expiry, megabytes(s.Space.Total),
				s.Filling.Round(100*time.Millisecond))
		}
	}
	for _, why := range r.Left {
		say("\n%s.", strings.ToUpper(why[:1])+why[1:])
	}
	for _, week := range r.Weeks {
		say("\nA week of %s keys a day, kept for 24 hours, autovacuum_vacuum_scale_factor %g:\n", spell(week.Daily), week.ScaleFactor)
		say("| day | keys | table | primary key | index on expiry | all | most until then | vacuums |")
		say("|---|---|---|---|---|---|---|---|")
		for n, d := range week.Days {
			say("| %d | %d | %.0f B a key | %.0f B a key | %.0f B a key | %s | %s | %d in %s |", n+1, d.Live, d.Space.Table, d.Space.PrimaryKey, d.Space.Expiry,
				megabytes(d.Space.Total), megabytes(d.Peak), d.Vacuums, milliseconds(d.Vacuuming))
		}
		say("\nAt its end %.2f × the room of a new table with the same keys.", week.Bloat())
	}
	if b := r.Beside; b != nil {
		say("\n| the reaper beside payments, %d connections | inserted /s | reaped /s | reaped ÷ inserted | payments /s ÷ without | p99 | p99 ÷ without |", b.Connections)
		say("|---|---|---|---|---|---|---|")
		left := "worked without a pause"
		if b.Left == 0 {
			left = "had nothing left at the end: give more by -backlog"
		}
		say("| %s were over; it %s | %.0f | %.0f | %.1f | %.2f | %s | **%.2f** |", spell(b.Backlog), left, b.Inserted, b.Reaped, b.Reaped/max(1, b.Inserted), b.SpeedRelative,
			milliseconds(b.P99), b.P99Relative)
	}
	return b.String()
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
