package history

import "slices"

// honest is [Honest].
func (c *checker) honest(f *file) {
	for _, a := range f.effective() {
		if a.Failed() {
			c.convict(Honest, f, []Attempt{a}, "told that it did not take effect, and its payment is there")
		}
	}
}

// understood are the answers, beside a success, that a client of the torture can make sense of, by status.
var understood = map[int][]string{
	409: {"in-progress", "lease-lost"},
	422: {CodeReused},
	502: {"provider-failed"},
	503: {"store-unavailable", CodeUnknown, "transaction-conflict"},
}

// sensible is [Sensible].
func (c *checker) sensible(f *file) {
	for _, a := range f.attempts {
		switch {
		case !a.Answered, a.Success(), a.Read && (a.Status == 200 || a.Status == 503):
			continue
		case !slices.Contains(understood[a.Status], a.Code):
			c.convict(Sensible, f, []Attempt{a}, "an answer that a client cannot make sense of")
		case a.Code == CodeReused && !f.asksOtherwise(a):
			c.convict(Sensible, f, []Attempt{a}, "told that the key belongs to another request, and no such request had it")
		}
	}
}

// asksOtherwise reports whether another request than a's may have had the key when a was answered.
func (f *file) asksOtherwise(a Attempt) bool {
	if len(f.payments) > 0 {
		return slices.ContainsFunc(f.payments, func(p PaymentRow) bool { return p.Amount != a.Amount })
	}
	return len(f.records) > 0 && slices.ContainsFunc(f.attempts, func(b Attempt) bool {
		return !b.Read && b.Amount != a.Amount && b.Start < a.End
	})
}
