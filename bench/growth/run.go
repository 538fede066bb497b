package growth

import (
	"context"
	"fmt"
	"time"
)

// What a key takes on the disk: its record and index entries, the log of writing them, and the sorting of the indexes.
const (
	bytesPerKey = 800
	diskReserve = 2e9
)

// Run measures. It can be interrupted by ctx, and takes its schemas away in any case; a run that was killed leaves them to the
// next one.
func Run(ctx context.Context, c Config) (Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Report{}, err
	}
	r := Report{Config: c}
	base, err := newWorld(ctx, c, "smallest")
	if err != nil {
		return r, err
	}
	defer base.drop()
	if r.Server, err = serverOf(ctx, base.pool); err != nil {
		return r, err
	}
	if err := base.fill(ctx, c.Sizes[0]); err != nil {
		return r, err
	}
	for _, n := range c.Sizes {
		if why := r.Server.tooLarge(c, n); why != "" {
			c.Progress(why)
			r.Left = append(r.Left, why)
			continue
		}
		size, err := runSize(ctx, c, base, n)
		if err != nil {
			return r, err
		}
		r.Sizes = append(r.Sizes, size)
	}
	if c.Daily > 0 {
		for _, scale := range []float64{-1, 0.2} { // as the migrations have it, and PostgreSQL's default
			week, err := simulateWeek(ctx, c, scale)
			if err != nil {
				return r, fmt.Errorf("a week of keys: %w", err)
			}
			r.Weeks = append(r.Weeks, week)
		}
	}
	if c.Backlog > 0 {
		beside, err := measureBeside(ctx, c)
		if err != nil {
			return r, fmt.Errorf("the reaper beside payments: %w", err)
		}
		r.Beside = &beside
	}
	return r, nil
}

func runSize(ctx context.Context, c Config, base *world, n int) (Size, error) {
	w, err := newWorld(ctx, c, "size")
	if err != nil {
		return Size{}, err
	}
	defer w.drop()
	if err := w.divide(ctx, c.Partitions); err != nil {
		return Size{}, err
	}
	c.Progress(fmt.Sprintf("%s: writing the records and building the indexes", spell(n)))
	began := time.Now()
	if err := w.fill(ctx, n); err != nil {
		return Size{}, err
	}
	filling := time.Since(began)
	size, err := measureSize(ctx, c, base, w)
	size.Filling = filling
	return size, err
}

// tooLarge says why a number of keys cannot be measured, if it cannot.
func (s Server) tooLarge(c Config, keys int) string {
	need := int64(keys) * bytesPerKey
	if need > c.Disk {
		return fmt.Sprintf("%s stored keys are left out: they may take %s of disk, of which %s are allowed", spell(keys), gigabytes(need), gigabytes(c.Disk))
	}
	if available, known := free(s.DataDirectory); known && need+diskReserve > available {
		return fmt.Sprintf("%s stored keys are left out: they may take %s of disk, of which %s are free", spell(keys), gigabytes(need), gigabytes(available))
	}
	return ""
}

func gigabytes(n int64) string { return fmt.Sprintf("%.1f GB", float64(n)/1e9) }
