package history

import "slices"

// stepwise is [Stepwise].
func (c *checker) stepwise(f *file) {
	if f.kind != Card {
		return
	}
	twice := false
	for _, step := range []string{Reserve, Settle} {
		if rows := f.steps[step]; len(rows) > 1 {
			twice = true
			c.convict(Stepwise, f, f.that(func(a Attempt) bool {
				return slices.ContainsFunc(rows, func(r StepRow) bool { return r.Attempt == a.ID })
			}), "step %s is there %d times: by attempts %s", step, len(rows), writers(rows))
		}
	}
	for _, step := range []string{Charged, Noticed} {
		if n := len(f.charges[step]); n > 1 {
			twice = true
			c.convict(Stepwise, f, nil, "the provider made %d effects of step %s, by different keys", n, step)
		}
	}
	if twice {
		if len(f.payments) <= 1 { // or it is counted already
			c.verdict.Duplicates++
		}
		return
	}
	counts := []int{len(f.steps[Reserve]), len(f.charges[Charged]), len(f.steps[Settle]), len(f.charges[Noticed])}
	switch done := len(f.payments) > 0; {
	case done && slices.Contains(counts, 0):
		c.convict(Stepwise, f, f.effective(), "paid, with %d reservations, %d charges, %d settlements and %d notices", counts[0], counts[1], counts[2], counts[3])
		return
	case !done && slices.Contains(counts, 1) && !f.pending():
		c.convict(Stepwise, f, nil, "forgotten on its way: %d reservations, %d charges, %d settlements, %d notices and no payment",
			counts[0], counts[1], counts[2], counts[3])
		return
	case !done:
		return
	}
	amount, charge := f.payments[0].Amount, f.charges[Charged][0]
	if f.steps[Reserve][0].Amount != amount || f.steps[Settle][0].Amount != amount || charge.Amount != amount {
		c.convict(Stepwise, f, f.effective(), "reserved %d, charged %d, settled %d and paid %d",
			f.steps[Reserve][0].Amount, charge.Amount, f.steps[Settle][0].Amount, amount)
	}
	if f.steps[Settle][0].Charge != charge.ID {
		c.convict(Stepwise, f, f.effective(), "settled charge %s, and the provider has %s", f.steps[Settle][0].Charge, charge.ID)
	}
}

func (f *file) pending() bool {
	return slices.ContainsFunc(f.records, func(r Record) bool { return r.State == "pending" })
}

func writers(rows []StepRow) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.Attempt)
	}
	return all
}
