package wireproxy

import "time"

// maxSlack bounds the correction below: a machine that is later than that is busy, and another time it may not be.
const maxSlack = 200 * time.Microsecond

// pace waits out the delays of one direction. It learns how much later than asked for the machine wakes it.
type pace struct {
	slack time.Duration
}

// until returns at due, as nearly as the machine can.
func (p *pace) until(due time.Time) {
	if due.IsZero() {
		return
	}
	for {
		left := time.Until(due) - p.slack
		if left <= 0 {
			break
		}
		sleep(left) // may end early
	}
	late := time.Since(due)
	p.slack = min(max(p.slack+late/8, 0), maxSlack)
}
