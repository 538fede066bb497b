package stack

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// A server process that takes a card payment is killed, or stopped and woken, at every statement and inside of the provider; the
// client comes back to another process, or nobody does and the completer of another process works.
func TestACardPaymentIsTakenOnceWhereverItsProcessIsHit(t *testing.T) {
	beside(t)
	w, _ := newCardWorld(t)
	cells := observe(t, w.url, cardSettings{}).cells()
	all := len(cells)
	if !everyCell(t) {
		early := cells[slices.IndexFunc(cells, func(c crash) bool { return c.overlap })] // it meets a lease that is not over
		cells = append(some(cells, 13), early)
	}
	t.Logf("%d of %d cells; %s=all runs all of them", len(cells), all, crashesVariable)
	for i, c := range cells {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, schema := newCardWorld(t)
			shell := choose(i%2 == 0, "nethttp", "echo")
			c.run(t, w, schema, cardSettings{URL: w.url, Shell: shell})
		})
	}
}

// shortLease is that of a process that is going to be hit. How long the database bears with the transaction of one that is stopped is
// idle: longer than such a process, on a busy machine, may take between two statements. The others stand still only when they are told to.
const shortLease = 300 * time.Millisecond

// The processes, as the provider knows them.
const (
	victim    = "victim"
	successor = "successor"
	bystander = "bystander"
)

// crashed is one cell on its way.
type crashed struct {
	crash
	t        *testing.T
	w        *world
	pay      request
	provider *provider
	victim   *process
	other    *process
	halted   halt
	proxy    *wireproxy.Proxy // between the other process and the database
	at       time.Time
}

// run exercises the cell in a world of its own; with says how the database is reached.
func (c crash) run(t *testing.T, w *world, schema string, with cardSettings) {
	results.add(func(r *tally) {
		r.cells++
		r.unexercised++
		if r.cells%20 == 0 {
			progress("%d cells begun: %d SIGKILLs, %d SIGSTOPs", r.cells, r.kills, r.stops)
		}
	})
	x := &crashed{crash: c, t: t, w: w, provider: startProvider(t), pay: byCard("crash-"+schema, amount)} // the schemas share their locks
	with.Completer = 20 * time.Millisecond
	there := with
	there.Lease, there.IdleInTransaction, there.Provider = time.Minute, patience, x.provider.to(bystander)
	third := cardsHere(t, there)
	there.Provider, there.Whole = x.provider.to(successor), c.deserted
	x.proxy, there.URL = behind(t, with.URL, wireproxy.Config{})
	x.other = startCards(t, there)
	proxy, through := behind(t, with.URL, wireproxy.Config{})
	with.URL, with.Provider, with.Lease, with.IdleInTransaction = through, x.provider.to(victim), shortLease, patience
	if x.frozen {
		with.IdleInTransaction = idle
	}
	x.victim = startCards(t, with)

	x.halted = c.hit(t, proxy, x.provider)
	first := x.victim.start(x.pay)
	reach(t, x.halted, first)
	x.strike()
	results.add(func(r *tally) { r.unexercised-- })

	var next *reply
	if c.deserted && c.free {
		next = x.nobody(first)
	} else {
		next = x.recover(first)
	}
	x.settled(next, third)
}

// strike hits the process.
func (x *crashed) strike() {
	x.at = time.Now()
	if !x.frozen {
		results.add(func(r *tally) { r.kills++ })
		x.victim.kill()
	} else {
		results.add(func(r *tally) { r.stops++ })
		x.victim.signal(x.t, syscall.SIGSTOP)
		x.victim.awaitStopped(x.t)
	}
	// What is held comes late: when the process wakes or, of a dead one, when somebody else has done the work. What a stopped process
	// had sent in full goes on without it, and so does the provider.
	late := x.statement != 0 && !(x.frozen && x.midway) || x.stage == doorstep || x.stage == onTheWay && x.frozen
	if !late {
		x.halted.Resume()
	}
}

// recover has the payment finished by another process. It returns the answer that the client got there, if it asked.
func (x *crashed) recover(first <-chan reply) *reply {
	t := x.t
	holds := x.hold()
	finished := make(chan *reply, 1)
	if x.deserted {
		x.other.tell(t)
		go func() {
			for ; !x.isCompleted(); time.Sleep(5 * time.Millisecond) { // what a look from outside costs
			}
			finished <- nil
		}()
	} else {
		go func() {
			r, _ := persist(x.pay, x.other.server)
			finished <- &r
		}()
	}
	if x.overlap {
		select {
		case <-holds[0].Reached():
		case <-holds[1].Reached():
		case <-finished:
			t.Fatal("the other process was not to be held: this cell was not exercised")
		case <-time.After(patience):
			t.Fatalf("nobody took over within %v", patience)
		}
		x.wake(first)
		for _, h := range holds {
			h.Resume()
		}
	}
	var next *reply
	select {
	case next = <-finished:
	case <-time.After(patience):
		results.add(func(r *tally) { r.stuck++ })
		t.Fatalf("not finished within %v: %+v", patience, x.w.books(t))
	}
	if !x.overlap {
		results.answered(time.Since(x.at), x.name)
	}
	switch {
	case x.frozen && !x.overlap:
		x.wake(first)
	case !x.frozen:
		require.Error(t, result(t, first).err, "a dead server answers nobody")
		if x.stage == doorstep {
			before := x.state()
			x.halted.Resume()
			x.provider.quiet(t, victim)
			assert.Equal(t, before, x.state(), "the dead process's request came late and changed something")
		}
	}
	return next
}

// hold stops the other process, in cells that ask for it, at its next chance: when it calls the provider, or before it completes.
func (x *crashed) hold() []halt {
	if !x.overlap {
		return nil
	}
	return []halt{x.provider.gate(x.t, successor, doorstep), x.proxy.At(func(s wireproxy.Statement) bool {
		return strings.Contains(s.SQL, "SET state = 'completed'")
	}, wireproxy.Stop)}
}

// isCompleted looks for the response. An error counts as a no: the test finds out by its patience.
func (x *crashed) isCompleted() (is bool) {
	err := x.w.pool.QueryRow(x.t.Context(), `SELECT EXISTS (SELECT FROM idempotency_keys WHERE key = $1 AND state = 'completed')`, x.pay.key).Scan(&is)
	return is || err != nil && x.t.Context().Err() != nil
}

// wake lets the stopped process go on to its end, which must change nothing.
func (x *crashed) wake(first <-chan reply) {
	t := x.t
	before := x.state()
	woken := x.goOn(first)
	if x.overlap { // its request may have been the one to charge; the other's will not then
		before, _, _ = strings.Cut(before, chargesBelow)
		after, _, _ := strings.Cut(x.state(), chargesBelow)
		assert.Equal(t, before, after, "the process that woke changed something")
	} else {
		assert.Equal(t, before, x.state(), "the process that woke changed something")
	}
	if woken.status == 201 {
		wantSame(t, woken, x.victim.send(x.pay))
		return
	}
	assert.True(t, woken.again(), woken.body)
	assert.Contains(t, woken.body, `"retryable":true,"key_action":"reuse"`)
}

// goOn wakes the process and returns what it answers.
func (x *crashed) goOn(first <-chan reply) reply {
	x.victim.signal(x.t, syscall.SIGCONT)
	x.halted.Resume()
	woken := result(x.t, first)
	require.NoError(x.t, woken.err)
	x.provider.quiet(x.t, victim)
	return woken
}

// nobody is a payment of which nothing is committed, so that nobody can know of it.
func (x *crashed) nobody(first <-chan reply) *reply {
	t := x.t
	x.other.tell(t)
	x.passes(3)
	x.w.eventually(t, "the lease, had there been one, and the transaction are over", `SELECT clock_timestamp() > $1::timestamptz + $2 * interval '1 millisecond'`,
		x.at, (idle + shortLease).Milliseconds())
	x.passes(3)
	assert.Equal(t, bookedNever, x.w.books(t))
	assert.Empty(t, x.provider.charges(t), "charged for nothing")
	if !x.frozen {
		require.Error(t, result(t, first).err)
		return nil
	}
	// The one that wakes may find that it has lost nothing, or everything. It, or the completer, gets to the end, or nobody does.
	woken := x.goOn(first)
	assert.True(t, woken.status == 201 || woken.again(), woken.body)
	x.w.eventually(t, "what it began is ended", `SELECT NOT EXISTS (SELECT FROM idempotency_keys WHERE state = 'pending')`)
	if woken.status == 201 {
		return &woken
	}
	return nil
}

// passes waits until the other process's completer has looked n times.
func (x *crashed) passes(n int) {
	looks := func() (looks int) {
		for _, s := range x.proxy.Executed() {
			if strings.Contains(s.SQL, "ORDER BY created_at LIMIT") {
				looks++
			}
		}
		return looks
	}
	until := looks() + n
	eventually(x.t, "the completer looks", func() (bool, error) { return looks() >= until, nil })
}

const chargesBelow = "\ncharges"

// state is what there is of the payment, here and at the provider.
func (x *crashed) state() string {
	state := x.w.snapshot(x.t) + chargesBelow
	for _, charge := range x.provider.charges(x.t) {
		state += " " + charge.ID + " by " + charge.IdempotencyKey
	}
	return state
}

// settled checks what is there in the end, and what later retries get. next is what the client was told, if anything.
func (x *crashed) settled(next *reply, third *server) {
	t := x.t
	x.provider.quiet(t, victim, successor)
	did, charges := x.w.books(t), x.provider.charges(t)
	if x.deserted && x.free && next == nil && did.Keys == 0 {
		assert.Equal(t, bookedNever, did, "half of a payment")
		assert.Empty(t, charges, "charged for nothing")
		return
	}
	results.add(func(r *tally) {
		r.payments++
		r.duplicates += max(0, len(charges)-1) + max(0, did.Captured-1)
		r.lost += max(0, 1-len(charges)) + max(0, 1-did.Captured)
		r.stuck += did.Pending
	})
	assert.Equal(t, bookedOnce, did)
	require.Len(t, charges, 1, "charges at the provider")
	assert.EqualValues(t, amount, charges[0].Amount)
	assert.Equal(t, idempotency.ForeignKey(idempotency.Key{Scope: "alice", Value: x.pay.key}, "card_charged"), charges[0].IdempotencyKey)
	var charge, payment string
	require.NoError(t, x.w.pool.QueryRow(deadline(t), `SELECT charge_id, id::text FROM card_payments`).Scan(&charge, &payment))
	assert.Equal(t, charges[0].ID, charge)

	if x.charged {
		assert.Equal(t, 1, x.provider.askedBy(victim), "requests for a charge, by the process that was hit")
		assert.Zero(t, x.provider.askedBy(successor), "requests for a charge whose outcome was known")
	}
	before := x.state()
	servers := []*server{third, x.other.server}
	if x.frozen {
		servers = append(servers, x.victim.server)
	}
	for _, s := range servers {
		again, before := insist(t, x.pay, s) // the process that has just committed may not have noticed yet
		assert.Equal(t, 201, again.status, again.body)
		for _, r := range before {
			assert.Equal(t, 409, r.status, r.body)
		}
		assert.True(t, again.replayed)
		assert.Contains(t, again.body, payment)
		if next != nil {
			wantSame(t, *next, again)
		}
		next = &again
	}
	assert.Equal(t, before, x.state(), "a retry changed something")
}
