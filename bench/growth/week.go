package growth

import (
	"context"
	"fmt"
	"math"
	"time"
)

const (
	days, hours = 7, 24
	// autovacuum's own defaults, where neither table nor server say otherwise.
	vacuumThreshold = 50
)

// Day is the end of one of the days of a week in which as many keys expire and are reaped as come, after the first day.
type Day struct {
	Live  int
	Space Space
	// Peak is the most that the table and its indexes took until then, in bytes.
	Peak    int64
	Vacuums int
	// Vacuuming is what they took.
	Vacuuming time.Duration
}

// Week is a week of keys that come and go, with what autovacuum would have done.
type Week struct {
	// Daily is how many keys a day brings. ScaleFactor is the table's autovacuum_vacuum_scale_factor.
	Daily       int
	ScaleFactor float64
	Days        []Day
	// Rebuilt is what the same records take in a table that is new.
	Rebuilt int64
}

// Bloat is how many times the room of a new table the old one takes.
func (w Week) Bloat() float64 {
	return float64(w.Days[len(w.Days)-1].Space.Total) / float64(max(1, w.Rebuilt))
}

// simulateWeek writes keys hour by hour, more of them at noon than at midnight, and reaps those of the day before. All of them
// expire in the past, each hour at another time, and the reaper is given as many as the hour has: so nothing has to be waited for.
// Autovacuum is off, and what it would do is done: it would come once a minute, for what is an hour here. A scale factor below 0
// leaves the table's own.
func simulateWeek(ctx context.Context, c Config, scale float64) (Week, error) {
	week := Week{Daily: c.Daily}
	w, err := newWorld(ctx, c, "week")
	if err != nil {
		return week, err
	}
	defer w.drop()
	if scale >= 0 {
		if err := w.do(ctx, fmt.Sprintf(`ALTER TABLE idempotency_keys SET (autovacuum_vacuum_scale_factor = %g)`, scale)); err != nil {
			return week, err
		}
	}
	if err := w.pool.QueryRow(ctx, `SELECT coalesce((SELECT option_value FROM pg_options_to_table(reloptions) WHERE option_name = 'autovacuum_vacuum_scale_factor'),
		current_setting('autovacuum_vacuum_scale_factor'))::float8 FROM pg_class WHERE oid = 'idempotency_keys'::regclass`).Scan(&week.ScaleFactor); err != nil {
		return week, err
	}
	if err := w.do(ctx, `ALTER TABLE idempotency_keys SET (autovacuum_enabled = off)`); err != nil {
		return week, err
	}
	began := time.Now().Add(-(days + 1) * hours * time.Hour)
	written, gone, dead := 0, 0, 0
	var peak int64
	for day := range days {
		c.Progress(fmt.Sprintf("a week of %s keys a day, scale factor %g: day %d of %d", spell(c.Daily), week.ScaleFactor, day+1, days))
		this := Day{}
		for hour := range hours {
			from := written
			written += ofHour(c.Daily, hour)
			width := float64(time.Hour) / float64(max(1, written-from))
			expiry := func(n int) time.Time {
				return began.Add(time.Duration(day*hours+hour)*time.Hour + time.Duration(float64(n-from)*width))
			}
			if err := w.copyRows(ctx, from, written, expiry); err != nil {
				return week, err
			}
			if day > 0 {
				over := ofHour(c.Daily, hour)
				for left := over; left > 0; left -= batch {
					if _, err := w.reapOnce(ctx, min(batch, left)); err != nil {
						return week, err
					}
				}
				gone, dead = gone+over, dead+over
			}
			if total, err := w.number(ctx, `SELECT pg_total_relation_size('idempotency_keys')`); err != nil {
				return week, err
			} else {
				peak = max(peak, total)
			}
			if float64(dead) > vacuumThreshold+week.ScaleFactor*float64(written-gone) {
				start := time.Now()
				if err := w.do(ctx, `VACUUM ANALYZE idempotency_keys`); err != nil {
					return week, err
				}
				this.Vacuums, this.Vacuuming, dead = this.Vacuums+1, this.Vacuuming+time.Since(start), 0
			}
		}
		w.size = written - gone
		if this.Space, err = w.space(ctx); err != nil {
			return week, err
		}
		this.Live, this.Peak = w.size, peak
		week.Days = append(week.Days, this)
	}
	err = w.do(ctx, `CREATE TABLE rebuilt (LIKE idempotency_keys INCLUDING ALL)`, `INSERT INTO rebuilt SELECT * FROM idempotency_keys ORDER BY expires_at`, `REINDEX TABLE rebuilt`)
	if err == nil {
		week.Rebuilt, err = w.number(ctx, `SELECT pg_total_relation_size('rebuilt')`)
	}
	return week, err
}

// ofHour is how many of a day's keys come in an hour: at noon three times as many as at midnight.
func ofHour(daily, hour int) int {
	until := func(hour int) float64 {
		x := float64(hour) / hours
		return x - math.Sin(2*math.Pi*x)/(4*math.Pi)
	}
	return int(until(hour+1)*float64(daily)) - int(until(hour)*float64(daily))
}
