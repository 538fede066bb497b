package stack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The provider has charged the card when the primary is lost. With a synchronous standby the payment and its recovery point are there
// still, and the process that is at work goes on. With an asynchronous one both can be lost, together; a retry begins
// anew, and asks with the same downstream key, so that the provider takes the money once.
func TestACardPaymentWhosePrimaryIsLostIsChargedOnce(t *testing.T) {
	t.Parallel()
	for _, synchronous := range []bool{true, false} {
		t.Run(choose(synchronous, "synchronous", "asynchronous"), func(t *testing.T) {
			t.Parallel()
			r := newReplicated(t, true)
			if synchronous {
				r.synchronous(t)
			} else {
				r.caughtUp(t)
				r.cut(t)
			}
			p := startProvider(t)
			with := cardSettings{URL: r.through(t), Provider: p.to(victim), Lease: time.Minute}
			at, other := cardsHere(t, with), cardsHere(t, with)
			gate := p.gate(t, victim, onTheWay)
			pay := byCard("failover", amount)
			first := at.start(pay)
			reach(t, gate, first)
			require.Len(t, p.charges(t), 1, "charged, and nobody knows")

			require.NoError(t, r.primary.Kill())
			promoted := r.promote(t)
			books := promoted.books(t)
			assert.Equal(t, [2]int{books.Payments, books.Pending}, [2]int{books.Keys, books.Keys}, "the payment and its recovery point stay or go together")
			if synchronous {
				assert.Equal(t, 1, books.Keys, "what the provider was called for is kept")
				assert.Equal(t, "409 in-progress", other.send(pay).String(), "its process is at work")
			} else {
				assert.Equal(t, bookedNever.Keys, books.Keys, "nothing of it is left")
			}
			gate.Resume()
			last := result(t, first)
			t.Logf("the process that was at work answers %v", last)
			asked := 1
			if synchronous {
				assert.Equal(t, 201, last.status, last.body)
			} else {
				assert.Equal(t, "409 lease-lost", last.String(), "its step is not there to go on from")
				asked = 2
				last, _ = insist(t, pay, other)
				assert.Equal(t, 201, last.status, last.body)
				assert.False(t, last.replayed)
			}

			assert.Len(t, p.charges(t), 1, "charges")
			assert.Equal(t, asked, p.askedBy(victim), "requests to the provider")
			again := other.send(pay)
			assert.True(t, again.replayed)
			wantSame(t, last, again)
			assert.Equal(t, bookedOnce, promoted.books(t))
		})
	}
}
