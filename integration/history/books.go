package history

import "fmt"

// whole is [Whole].
func (c *checker) whole() {
	payments := map[int64]PaymentRow{}
	for _, p := range c.snapshot.Payments {
		payments[p.ID] = p
	}
	entries := map[int64][]Entry{}
	moved := map[string]int64{}
	for _, e := range c.snapshot.Entries {
		entries[e.Payment] = append(entries[e.Payment], e)
		moved[e.Account] += e.Amount
		if _, there := payments[e.Payment]; !there {
			c.convict(Whole, &file{key: e.Key}, nil, "an entry of payment %d, which is not there", e.Payment)
		}
	}
	for _, p := range c.snapshot.Payments {
		if wrong := unlike(p, entries[p.ID]); wrong != "" {
			c.convict(Whole, &file{key: p.Key}, nil, "payment %d of %d by attempt %s: %s", p.ID, p.Amount, p.Attempt, wrong)
		}
	}
	var before, after int64
	for _, a := range c.snapshot.Accounts {
		before += a.Opening
		after += a.Available
		if a.Available != a.Opening+moved[a.Name] {
			c.convict(Whole, nil, nil, "account %s holds %d; it began with %d, and its entries make %d", a.Name, a.Available, a.Opening, a.Opening+moved[a.Name])
		}
	}
	if before != after {
		c.convict(Whole, nil, nil, "all accounts together held %d, and hold %d", before, after)
	}
}

// unlike says what is wrong with a payment's entries, or nothing.
func unlike(p PaymentRow, entries []Entry) string {
	if len(entries) != 2 {
		return fmt.Sprintf("%d entries instead of 2", len(entries))
	}
	var sum int64
	for _, e := range entries {
		sum += e.Amount
		if e.Key != p.Key {
			return "an entry of another key: " + e.Key
		}
		if e.Account == p.Account && e.Amount != -p.Amount || e.Account != p.Account && e.Amount != p.Amount {
			return fmt.Sprintf("an entry of %d for account %s", e.Amount, e.Account)
		}
	}
	if sum != 0 {
		return fmt.Sprintf("entries that sum up to %d", sum)
	}
	return ""
}
