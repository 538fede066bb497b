package stack

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// weather is how much of a storm there is.
type weather struct {
	processes, payments int
	length              time.Duration
	calm                time.Duration // the longest pause between two kills
}

var (
	breeze    = weather{processes: 3, payments: 40, length: 5 * time.Second, calm: 300 * time.Millisecond}
	hurricane = weather{processes: 20, payments: 500, length: time.Minute, calm: 300 * time.Millisecond}
)

// cardStorm is whole servers that are killed and started again all the time, a provider that fails every other request, and clients.
type cardStorm struct {
	t     *testing.T
	w     *world
	with  cardSettings
	label string

	mu       sync.Mutex
	servers  []*process
	payments []*stormPayment
	answered int
	kills    int
	broken   int // requests that got no answer
	begun    time.Time
}

// stormPayment is one, and what its clients were told. The amount is its own, so that the provider's charges can be told apart.
type stormPayment struct {
	request
	amount   int64
	declines bool
	leaves   bool // the client does not come back after its first request
	twice    bool // two clients send it at once
	told     []reply
}

func TestAStormOverCardPaymentsDoublesNothingAndLosesNothing(t *testing.T) {
	beside(t)
	with := breeze
	if everyCell(t) {
		with = hurricane
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	w, schema := newCardWorld(t)
	provider := launch(t, providerVariable, providerSettings{FailureRate: 0.5, Slow: 200 * time.Millisecond, Seed: seed}, os.Stderr)
	s := &cardStorm{t: t, w: w, label: schema, begun: time.Now(), with: cardSettings{
		URL: w.url, Provider: provider.url, Lease: time.Second, Completer: 200 * time.Millisecond, Whole: true,
	}}
	for range with.processes {
		s.servers = append(s.servers, s.startServer())
	}
	done := make(chan struct{})
	go func() { s.clients(with); close(done) }()
	s.rage(with, random, done)
	await(t, "every client has its last answer", done)
	s.aftermath()
	s.check(provider.url)
	t.Logf("seed %d: %d SIGKILLs of %d servers, %d payments, %d requests without an answer, %v in all", seed, s.kills, with.processes, with.payments,
		s.broken, time.Since(s.begun).Round(time.Millisecond))
	assert.Positive(t, s.broken, "the kills hit nobody")
}

func (s *cardStorm) startServer() *process {
	p := startCards(s.t, s.with)
	p.tell(s.t)
	return p
}

// rage kills a server now and then, and starts another one in its place, until the clients are done.
func (s *cardStorm) rage(with weather, random *rand.Rand, done <-chan struct{}) {
	over, tell := time.After(with.length), time.NewTicker(5*time.Second)
	defer tell.Stop()
	for {
		pause := time.NewTimer(time.Duration(random.Int64N(int64(with.calm))))
		select {
		case <-done:
			pause.Stop()
			return
		case <-over:
			pause.Stop()
			return
		case <-tell.C:
			s.mu.Lock()
			progress("%3.0fs: %d of %d payments answered, %d servers killed", time.Since(s.begun).Seconds(), s.answered, with.payments, s.kills)
			s.mu.Unlock()
		case <-pause.C:
			place := random.IntN(len(s.servers))
			s.servers[place].kill()
			next := s.startServer()
			s.mu.Lock()
			s.servers[place] = next
			s.kills++
			s.mu.Unlock()
			results.add(func(r *tally) { r.kills++ })
		}
	}
}

// clients begin a payment at a time, spread over the storm, and return when each has its answer or has left.
func (s *cardStorm) clients(with weather) {
	turn := time.NewTicker(with.length / time.Duration(with.payments))
	defer turn.Stop()
	var all sync.WaitGroup
	for i := range with.payments {
		p := s.payment(i)
		s.payments = append(s.payments, p)
		all.Go(func() { s.client(p, i) })
		if p.twice {
			all.Go(func() { s.client(p, i+1) })
		}
		<-turn.C
	}
	all.Wait()
}

func (s *cardStorm) payment(i int) *stormPayment {
	p := &stormPayment{amount: int64(1000 + i), declines: i%10 == 7, leaves: i%5 == 4, twice: i%5 == 1}
	card := choose(i%2 == 0, "tok_slow", "tok_visa")
	if p.declines {
		card = "tok_declined"
	}
	p.request = request{
		method: http.MethodPost, path: "/api/v1/card-payments", token: choose(i%4 < 2, "demo_alice", "demo_bob"), key: fmt.Sprintf("%s-%d", s.label, i),
		body: fmt.Sprintf(`{"amount":%d,"currency":"USD","card":%q}`, p.amount, card),
	}
	return p
}

// client sends a payment, to one server after the other, until it is answered.
func (s *cardStorm) client(p *stormPayment, first int) {
	var crashed time.Time // when the first of its servers was gone
	for end, attempt := time.Now().Add(patience), first; ; attempt++ {
		s.mu.Lock()
		to := s.servers[attempt%len(s.servers)]
		s.mu.Unlock()
		r := to.send(p.request)
		s.mu.Lock()
		if r.err != nil {
			s.broken++
			if crashed.IsZero() {
				crashed = time.Now()
			}
		}
		if !r.again() {
			if len(p.told) == 0 {
				s.answered++
			}
			p.told = append(p.told, r)
		}
		s.mu.Unlock()
		switch {
		case !r.again():
			if !crashed.IsZero() {
				results.answered(time.Since(crashed), "storm, with a provider that fails every other request")
			}
			return
		case p.leaves:
			return
		case time.Now().After(end):
			s.t.Errorf("%s is stuck: %v", p.key, r)
			return
		}
		time.Sleep(20 * time.Millisecond) // a client's pause
	}
}

// aftermath lets the completers finish what nobody came back for. How long they pause after a failure is not the point here: the
// time of the pause is taken away.
func (s *cardStorm) aftermath() {
	progress("%3.0fs: the storm is over", time.Since(s.begun).Seconds())
	ctx := deadline(s.t)
	eventually(s.t, "the completers finish the rest", func() (bool, error) {
		_, err := s.w.pool.Exec(ctx, `UPDATE idempotency_keys SET leased_until = leased_until - interval '1 hour'
			WHERE state = 'pending' AND leased_until BETWEEN clock_timestamp() - interval '30 minutes' AND clock_timestamp()`)
		var none bool
		if err == nil {
			err = s.w.pool.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM idempotency_keys WHERE state = 'pending')`).Scan(&none)
		}
		return none, err
	})
}

// check compares every payment's rows with the provider's charges and with what the clients were told.
func (s *cardStorm) check(provider string) {
	t := s.t
	all, err := psp.NewClient(provider, nil).List(deadline(t))
	require.NoError(t, err)
	charges := map[int64][]string{}
	for _, c := range all {
		charges[c.Amount] = append(charges[c.Amount], c.ID)
	}
	captured, refused, abandoned := 0, 0, 0
	for _, p := range s.payments {
		var payments, booked, entries, receipts, keys int
		charge := ""
		require.NoError(t, s.w.pool.QueryRow(deadline(t), `SELECT count(*), count(*) FILTER (WHERE status = 'captured'), coalesce(max(charge_id), ''),
			(SELECT count(*) FROM ledger_entries e JOIN card_payments c ON c.id = e.card_payment_id WHERE c.amount = $1),
			(SELECT count(*) FROM receipts r JOIN card_payments c ON c.id = r.card_payment_id WHERE c.amount = $1),
			(SELECT count(*) FROM idempotency_keys WHERE key = $2)
			FROM card_payments WHERE amount = $1`, p.amount, p.key).Scan(&payments, &booked, &charge, &entries, &receipts, &keys))
		did := []int{payments, booked, len(charges[p.amount]), entries, receipts, keys}
		want := []int{1, 1, 1, 2, 1, 1}
		switch {
		case p.declines:
			want = []int{1, 0, 0, 0, 0, 1}
			refused++
		default:
			captured++
		}
		if p.leaves && len(p.told) == 0 && keys == 0 { // killed before anything was committed, and not asked for again
			want = make([]int, len(want))
			abandoned++
		}
		assert.Equal(t, want, did, "%s: payments, captures, charges, entries, receipts, keys", p.key)
		if charge != "" {
			assert.Equal(t, charges[p.amount], []string{charge}, p.key)
		}
		results.add(func(r *tally) {
			r.payments++
			for i := range want {
				r.duplicates += max(0, did[i]-want[i])
				r.lost += max(0, want[i]-did[i])
			}
		})
		if keys > 0 {
			s.replays(p)
		}
	}
	b := s.w.books(t)
	assert.Zero(t, b.Sum, "sum of the ledger")
	assert.Zero(t, b.Wrong, "accounts that do not hold the sum of their entries")
	assert.Zero(t, b.Pending, "stuck")
	results.add(func(r *tally) { r.stuck += b.Pending })
	progress("%3.0fs: %d captured, %d declined, %d that nobody asked for again and that did not happen", time.Since(s.begun).Seconds(), captured, refused, abandoned)
}

// replays asks for the answer at two servers, and compares it with what any client was told.
func (s *cardStorm) replays(p *stormPayment) {
	told := p.told
	for i := range 2 {
		again, _ := insist(s.t, p.request, s.servers[i].server)
		assert.True(s.t, again.replayed)
		assert.Equal(s.t, map[bool]int{false: 201, true: 402}[p.declines], again.status, again.body)
		told = append(told, again)
	}
	for _, r := range told[1:] {
		if r.status != told[0].status || r.body != told[0].body {
			results.add(func(r *tally) { r.unstable++ })
		}
		wantSame(s.t, told[0], r)
	}
}
