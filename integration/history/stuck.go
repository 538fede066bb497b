package history

// unstuck is [Unstuck].
func (c *checker) unstuck(f *file) {
	stuck := false
	last := map[int]Attempt{} // by client
	for _, a := range f.attempts {
		if !a.Read && !a.Vanished {
			last[a.Client] = a
		}
	}
	var unserved []Attempt
	for _, a := range f.attempts {
		if last[a.Client].ID == a.ID && a.End > c.run.FaultsEnded && !a.Final() {
			unserved = append(unserved, a)
		}
	}
	if len(unserved) > 0 {
		stuck = true
		c.convict(Unstuck, f, unserved, "clients that got no final answer after the faults had ended")
	}
	for _, r := range f.records {
		if r.State == "pending" {
			stuck = true
			c.convict(Unstuck, f, nil, "still pending after %d attempts; the last one's error: %q", r.Attempts, r.Error)
		}
	}
	if stuck {
		c.verdict.Stuck++
	}
}
