package torture

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config says what to torture and how. Server is required; the rest has defaults.
type Config struct {
	// Server is the program to torture: integration/cmd/tortureserver, built as one likes. ServerFlags are given to it after ours.
	Server      string
	ServerFlags []string
	// Duration is how long things are broken. Default: 2 minutes. Afterwards it takes some seconds to come to rest.
	Duration time.Duration
	// Seed is what everything random is drawn from.
	Seed uint64
	// Faults are the names of those that strike: see [Faults]. nil: all that are possible here; empty: none.
	Faults []string
	// Pace is the mean time between two of them. Default: 400 ms.
	Pace time.Duration
	// Servers and Clients are how many there are. Default: 3 and 16.
	Servers, Clients int
	// Work is what clients do.
	Work Work
	// Lease is that of the servers, and how long a transaction may stand still. Default: 1 second; in a calm run, in which a slow
	// machine must not look like a fault, 10 seconds.
	Lease time.Duration
	// Folder is where the run's folder is made, with the history and what servers say on standard error. Default: the system's
	// temporary folder. The run's own is removed if nothing was found, unless Keep.
	Folder string
	Keep   bool
	// Progress is told every second how it goes. May be nil.
	Progress func(Progress)

	// binaries is where the database's server is looked for. Empty: everywhere.
	binaries string
}

// Work is what clients do, in parts of the whole. The zero value is a mix of everything.
type Work struct {
	// Payments, Refusals and Cards are what keys ask for.
	Payments, Refusals, Cards int
	// Of 100 turns of a client so many are reads, requests with another body than the key's own, and requests with any earlier key.
	Reads, Mismatches, Late int
	// Bursts are how many of 100 requests are sent several times at once, to different servers.
	Bursts int
	// Spread is how many turns a key gets on the average before the next one is opened. Default: 4.
	Spread int
}

func (w Work) withDefaults() Work {
	if w.Payments+w.Refusals+w.Cards == 0 {
		w.Payments, w.Refusals, w.Cards = 6, 1, 3
	}
	if w.Reads+w.Mismatches+w.Late+w.Bursts == 0 {
		w.Reads, w.Mismatches, w.Late, w.Bursts = 10, 5, 10, 35
	}
	if w.Spread == 0 {
		w.Spread = 4
	}
	return w
}

// calm reports whether nothing but clients misbehaves.
func (c Config) calm() bool {
	return !slices.ContainsFunc(c.Faults, func(name string) bool { return name != vanish.name })
}

// withDefaults fills in what is missing. faults are those that are possible.
func (c Config) withDefaults() (Config, error) {
	if c.Server == "" {
		return c, errors.New("torture: Config.Server is missing: build integration/cmd/tortureserver and name it")
	}
	for _, name := range c.Faults {
		if !slices.ContainsFunc(faults(), func(f fault) bool { return f.name == name }) {
			return c, fmt.Errorf("torture: there is no fault %q: use some of %s", name, strings.Join(names(faults()), ", "))
		}
	}
	if c.Faults == nil {
		c.Faults = names(faults())
	}
	for _, setting := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&c.Duration, 2 * time.Minute}, {&c.Pace, 400 * time.Millisecond}, {&c.Lease, time.Second}} {
		if *setting.value == 0 {
			*setting.value = setting.def
			if setting.value == &c.Lease && c.calm() {
				*setting.value = 10 * time.Second
			}
		}
		if *setting.value < 0 {
			return c, errors.New("torture: Config.Duration, Pace and Lease must be positive, or 0 for the default")
		}
	}
	if c.Servers == 0 {
		c.Servers = 3
	}
	if c.Clients == 0 {
		c.Clients = 16
	}
	if c.Servers < 1 || c.Clients < 1 {
		return c, errors.New("torture: Config.Servers and Clients must be positive, or 0 for the default")
	}
	c.Work = c.Work.withDefaults()
	return c, nil
}
