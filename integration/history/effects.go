package history

// once is [Once] and [Unanswered]: the same, for those keys that nobody was told the result of.
func (c *checker) once(f *file) {
	if len(f.payments) <= 1 {
		return
	}
	c.verdict.Duplicates++
	rule := Once
	if len(f.successes()) == 0 {
		rule = Unanswered
	}
	c.convict(rule, f, f.effective(), "%d effects: payments %s", len(f.payments), ids(f.payments))
}

// kept is [Kept].
func (c *checker) kept(f *file) {
	lost := false
	for _, a := range f.successes() {
		if a.Kind == Refusal {
			if len(f.payments) > 0 {
				c.convict(Kept, f, []Attempt{a}, "refused, and yet there are payments: %s", ids(f.payments))
			}
			continue
		}
		var named *PaymentRow
		for i := range f.payments {
			if f.payments[i].ID == a.Payment {
				named = &f.payments[i]
			}
		}
		switch {
		case named == nil:
			if !lost {
				lost = true
				c.verdict.Lost++
			}
			c.convict(Kept, f, []Attempt{a}, "the answer names payment %d, which is not there", a.Payment)
		case named.Amount != a.Amount:
			c.convict(Kept, f, []Attempt{a}, "asked for %d, and answered with a payment of %d", a.Amount, named.Amount)
		case named.Nonce != a.Nonce:
			c.convict(Kept, f, []Attempt{a}, "the answer has nonce %s, and payment %d has %s", a.Nonce, named.ID, named.Nonce)
		}
	}
}

// sameBytes is [SameBytes].
func (c *checker) sameBytes(f *file) {
	successes := f.successes()
	if len(successes) == 0 {
		return
	}
	first := successes[0]
	for _, a := range successes[1:] {
		if a.Status != first.Status || a.Hash != first.Hash || a.Headers != first.Headers {
			c.convict(SameBytes, f, []Attempt{first, a}, "two successes that are not equal")
			return
		}
	}
}

// recorded is [Recorded].
func (c *checker) recorded(f *file) {
	if len(f.records) > 1 { // two scopes, or no primary key
		c.convict(Recorded, f, nil, "%d rows", len(f.records))
		return
	}
	successes := f.successes()
	if len(f.records) == 0 {
		switch {
		case len(f.payments) > 0:
			c.convict(Recorded, f, f.effective(), "an effect without a row: payments %s", ids(f.payments))
		case len(successes) > 0:
			c.convict(Recorded, f, successes[:1], "a success without a row")
		}
		return
	}
	r := f.records[0]
	switch {
	case r.State == "pending":
		if len(f.payments) > 0 || len(successes) > 0 {
			c.convict(Recorded, f, successes, "done, and yet pending")
		}
		return
	case r.State != "completed":
		c.convict(Recorded, f, nil, "state %q", r.State)
		return
	case r.Status/100 == 2 && len(f.payments) == 0:
		c.convict(Recorded, f, successes, "completed with status %d without an effect", r.Status)
	case r.Status/100 != 2 && len(f.payments) > 0:
		c.convict(Recorded, f, f.effective(), "completed with status %d, and yet there are payments: %s", r.Status, ids(f.payments))
	}
	for _, a := range successes {
		if a.Status != r.Status || a.Hash != r.Hash {
			c.convict(Recorded, f, []Attempt{a}, "what is stored, %d %.8s, is not what the client got", r.Status, r.Hash)
			return
		}
	}
}
