package growth

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says what is measured. The zero value of all but URL works.
type Config struct {
	// URL is a database that may be filled. Run makes schemas of its own, whose names begin with onlyonce_growth, and drops them.
	URL string
	// Sizes are numbers of stored keys, of which the smallest is what the others are compared with. Default: 10 thousand,
	// 1 and 10 million.
	Sizes []int
	// Connections is how many payments are made at a time. Default: 8.
	Connections int
	// Rounds is how often each measurement is repeated; medians count. Default: 5. Length is how long a round takes. Default: 2 seconds.
	Rounds int
	Length time.Duration
	// Daily is how many keys a simulated day brings. Default: 200,000; negative: no week is simulated.
	Daily int
	// Backlog is how many records are over before the reaper begins beside payments. Default: 1 million; negative: that is left out.
	Backlog int
	// Disk bounds what may be taken of it, in bytes. Default: 20 GB. A size that needs more, or more than is free, is left out.
	Disk int64
	// Partitions is into how many parts, by hash of scope and key, the tables are divided that are compared with the smallest. Default:
	// 0, as the migrations have it.
	Partitions int
	// Set holds settings of the payments' sessions, such as wal_compression. Default: none, the server's own hold.
	Set map[string]string
	// Progress is told what is being done. Default: nobody is.
	Progress func(string)
}

func (c Config) withDefaults() (Config, error) {
	if c.URL == "" {
		return c, errors.New("DATABASE_URL is not set: run make bench-growth, or name a database that may be filled")
	}
	if len(c.Sizes) == 0 {
		c.Sizes = []int{10_000, 1_000_000, 10_000_000}
	}
	c.Sizes = slices.Compact(slices.Sorted(slices.Values(c.Sizes)))
	if c.Sizes[0] < smallest {
		return c, fmt.Errorf("%d stored keys are too few to measure with: give at least %d", c.Sizes[0], smallest)
	}
	c.Connections = orDefault(c.Connections, 8)
	c.Rounds = orDefault(c.Rounds, 5)
	c.Length = orDefault(c.Length, 2*time.Second)
	c.Daily = orDefault(c.Daily, 200_000)
	c.Backlog = orDefault(c.Backlog, 1_000_000)
	c.Disk = orDefault(c.Disk, 20e9)
	if c.Connections < 0 || c.Rounds < 0 || c.Length < 0 || c.Disk < 0 || c.Partitions < 0 {
		return c, errors.New("connections, rounds, length, disk and partitions must be positive, or 0 for the default")
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c, nil
}

func orDefault[T int | int64 | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// ParseSizes reads a list such as 10k,1M,50M.
func ParseSizes(list string) ([]int, error) {
	var sizes []int
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		factor, digits := 1, word
		if thousands, found := strings.CutSuffix(word, "k"); found {
			factor, digits = 1_000, thousands
		} else if millions, found := strings.CutSuffix(word, "M"); found {
			factor, digits = 1_000_000, millions
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n <= 0 || n > 1_000_000_000/factor {
			return nil, fmt.Errorf("%q is no number of stored keys: write 10k, 1M or 2500", word)
		}
		sizes = append(sizes, n*factor)
	}
	return sizes, nil
}

// spell is the reverse of ParseSizes, for people.
func spell(n int) string {
	switch {
	case n >= 1_000_000 && n%100_000 == 0:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/1e6), ".0") + " M"
	case n >= 1_000 && n%1_000 == 0:
		return fmt.Sprintf("%d k", n/1_000)
	}
	return strconv.Itoa(n)
}
