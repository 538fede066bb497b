package history

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sound is a history in which all is well: a payment that was asked for twice, a card payment whose first client was told nothing, a
// refusal, an attempt with another body, one that nobody was served for, and reads.
func sound() History {
	second := time.Second
	return History{
		Run: Run{FaultsEnded: 100 * second},
		Attempts: []Attempt{
			{ID: "p1", Client: 1, Key: "pay", Kind: Payment, Amount: 10, Start: 1 * second, End: 2 * second, Answered: true, Status: 201, Hash: "hp", Payment: 1, Nonce: "np"},
			{ID: "p2", Client: 2, Key: "pay", Kind: Payment, Amount: 10, Start: 3 * second, End: 4 * second, Answered: true, Status: 201, Hash: "hp", Payment: 1, Nonce: "np", Replayed: true},
			{ID: "p3", Client: 3, Key: "pay", Kind: Payment, Amount: 11, Start: 3 * second, End: 4 * second, Answered: true, Status: 422, Code: CodeReused},
			{ID: "p4", Client: 3, Key: "pay", Kind: Payment, Amount: 10, Start: 1 * second, End: 2 * second, Answered: true, Status: 409, Code: "in-progress"},
			{ID: "p5", Client: 3, Key: "pay", Kind: Payment, Amount: 10, Read: true, Start: 0, End: second / 2, Answered: true, Status: 200, Count: 0},
			{ID: "p6", Client: 3, Key: "pay", Kind: Payment, Amount: 10, Read: true, Start: 5 * second, End: 6 * second, Answered: true, Status: 200, Count: 1},

			{ID: "c1", Client: 1, Key: "card", Kind: Card, Amount: 20, Start: 1 * second, End: 2 * second},
			{ID: "c2", Client: 2, Key: "card", Kind: Card, Amount: 20, Start: 9 * second, End: 10 * second, Answered: true, Status: 201, Hash: "hc", Payment: 2, Nonce: "nc", Replayed: true},
			{ID: "c3", Client: 1, Key: "card", Kind: Card, Amount: 20, Read: true, Start: 5 * second, End: 6 * second, Answered: true, Status: 200, Count: 1},

			{ID: "r1", Client: 1, Key: "no", Kind: Refusal, Amount: 30, Start: 1 * second, End: 2 * second, Answered: true, Status: 402, Hash: "hr"},
			{ID: "r2", Client: 2, Key: "no", Kind: Refusal, Amount: 30, Start: 1 * second, End: 2 * second, Answered: true, Status: 402, Hash: "hr", Replayed: true},
			{ID: "r3", Client: 2, Key: "no", Kind: Refusal, Amount: 30, Read: true, Start: 3 * second, End: 4 * second, Answered: true, Status: 200, Count: 0},

			{ID: "u1", Client: 1, Key: "unanswered", Kind: Payment, Amount: 40, Start: 1 * second, End: 2 * second, Vanished: true},
			{ID: "n1", Client: 1, Key: "nothing", Kind: Payment, Amount: 50, Start: 1 * second, End: 2 * second},
		},
		Executions: []Execution{
			{Nonce: "np", Key: "pay", Attempt: "p1", Start: 1 * second, End: 2 * second},
			{Nonce: "nc", Key: "card", Attempt: "completer-nc", Completer: true, Start: 3 * second, End: 4 * second},
			{Nonce: "nr", Key: "no", Attempt: "r1", Start: 1 * second, End: 2 * second},
			{Nonce: "nu", Key: "unanswered", Attempt: "u1", Start: 1 * second, End: 3 * second},
		},
		Snapshot: Snapshot{
			Payments: []PaymentRow{
				{ID: 1, Key: "pay", Attempt: "p1", Nonce: "np", Account: "alice", Amount: 10},
				{ID: 2, Key: "card", Attempt: "completer-nc", Nonce: "nc", Account: "alice", Amount: 20},
				{ID: 3, Key: "unanswered", Attempt: "u1", Nonce: "nu", Account: "bob", Amount: 40},
			},
			Entries: []Entry{
				{1, "pay", "alice", -10}, {1, "pay", "shop", 10}, {2, "card", "alice", -20}, {2, "card", "shop", 20},
				{3, "unanswered", "bob", -40}, {3, "unanswered", "shop", 40},
			},
			Steps: []StepRow{
				{Step: Reserve, Key: "card", Attempt: "c1", Amount: 20}, {Step: Settle, Key: "card", Attempt: "completer-nc", Amount: 20, Charge: "ch"},
			},
			Records: []Record{
				{Key: "pay", State: "completed", Status: 201, Hash: "hp"}, {Key: "card", State: "completed", Status: 201, Hash: "hc"},
				{Key: "no", State: "completed", Status: 402, Hash: "hr", By: "r1"}, {Key: "unanswered", State: "completed", Status: 201, Hash: "hu"},
			},
			Accounts: []Account{{"alice", 100, 70}, {"bob", 100, 60}, {"shop", 0, 70}},
			Charges: []Charge{
				{ID: "ch", Step: Charged, Downstream: "d", Key: "card", Amount: 20, Calls: 2},
				{ID: "no", Step: Noticed, Downstream: "e", Key: "card", Amount: 20, Calls: 1},
			},
		},
	}
}

func (h *History) attempt(id string) *Attempt {
	for i := range h.Attempts {
		if h.Attempts[i].ID == id {
			return &h.Attempts[i]
		}
	}
	panic(id)
}

// pays adds another effect, whole in itself.
func (h *History) pays(p PaymentRow) {
	s := &h.Snapshot
	s.Payments = append(s.Payments, p)
	s.Entries = append(s.Entries, Entry{p.ID, p.Key, p.Account, -p.Amount}, Entry{p.ID, p.Key, "shop", p.Amount})
	for i := range s.Accounts {
		switch s.Accounts[i].Name {
		case p.Account:
			s.Accounts[i].Available -= p.Amount
		case "shop":
			s.Accounts[i].Available += p.Amount
		}
	}
}

func TestAHistoryInWhichAllIsWellIsClean(t *testing.T) {
	t.Parallel()
	verdict := Check(sound())
	assert.True(t, verdict.Clean(), verdict)
	assert.Equal(t, "clean: 5 keys", verdict.String())
	assert.Equal(t, []int{3, 1}, []int{verdict.Unknown, verdict.Effective})
}

// Each rule with what breaks it, and with what looks alike and does not.
func TestEachRuleConvictsWhatBreaksItAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what    string
		rule    Rule // "": none
		further []Rule
		change  func(*History)
	}{
		{"two effects of a key", Once, nil, func(h *History) {
			h.pays(PaymentRow{ID: 9, Key: "pay", Attempt: "p2", Nonce: "n9", Account: "alice", Amount: 10})
		}},
		{"two effects of equal content, with two keys", "", nil, func(h *History) {
			h.pays(PaymentRow{ID: 9, Key: "nothing", Attempt: "n1", Nonce: "n9", Account: "alice", Amount: 10})
			h.Snapshot.Records = append(h.Snapshot.Records, Record{Key: "nothing", State: "completed", Status: 201, Hash: "h9"})
		}},
		{"two effects of a key that nobody was told of", Unanswered, nil, func(h *History) {
			h.pays(PaymentRow{ID: 9, Key: "unanswered", Attempt: "u1", Nonce: "n9", Account: "bob", Amount: 40})
		}},
		{"an answer that names another payment", Kept, nil, func(h *History) {
			h.attempt("p1").Payment, h.attempt("p2").Payment = 3, 3
		}},
		{"an answer to another request's content", Kept, []Rule{Ordered}, func(h *History) { h.attempt("p2").Amount = 11 }},
		{"an answer of another run of the handler", Kept, nil, func(h *History) { h.attempt("p2").Nonce = "other" }},
		{"a success without an effect", Kept, []Rule{Recorded, Ordered}, func(h *History) {
			*h.attempt("n1") = Attempt{ID: "n1", Key: "nothing", Kind: Payment, Amount: 50, Start: 1, End: 2, Answered: true, Status: 201, Hash: "h", Payment: 9}
		}},
		{"a refusal that paid", Kept, []Rule{Recorded}, func(h *History) {
			h.pays(PaymentRow{ID: 9, Key: "no", Attempt: "r1", Nonce: "nr", Account: "bob", Amount: 30})
		}},
		{"a replay of other bytes", SameBytes, []Rule{Recorded, Ordered}, func(h *History) { h.attempt("p2").Hash = "other" }},
		{"a replay with another Location", SameBytes, nil, func(h *History) { h.attempt("p2").Headers = "other" }},
		{"a replayed refusal of other bytes", SameBytes, []Rule{Recorded, Ordered}, func(h *History) { h.attempt("r2").Hash = "other" }},
		{"an effect without a row", Recorded, nil, func(h *History) { h.Snapshot.Records = h.Snapshot.Records[:3] }},
		{"a refusal without a row", Recorded, nil, func(h *History) {
			h.Snapshot.Records[2] = Record{Key: "nothing", State: "completed", Status: 402}
		}},
		{"a completed row without an effect", Recorded, nil, func(h *History) {
			h.Snapshot.Records = append(h.Snapshot.Records, Record{Key: "nothing", State: "completed", Status: 201})
		}},
		{"a row that is kept of a refusal that nobody was told of", "", nil, func(h *History) {
			h.attempt("n1").Kind = Refusal
			h.Snapshot.Records = append(h.Snapshot.Records, Record{Key: "nothing", State: "completed", Status: 402, Hash: "h9"})
		}},
		{"a row that holds other bytes than clients got", Recorded, nil, func(h *History) { h.Snapshot.Records[0].Hash = "other" }},
		{"an effect whose row is pending", Recorded, []Rule{Unstuck}, func(h *History) { h.Snapshot.Records[1].State = "pending" }},
		{"a payment with one entry", Whole, nil, func(h *History) {
			h.Snapshot.Entries = h.Snapshot.Entries[1:]
			h.Snapshot.Accounts[0].Available += 10
		}},
		{"an entry without its payment", Whole, nil, func(h *History) {
			h.Snapshot.Entries = append(h.Snapshot.Entries, Entry{9, "pay", "alice", 0})
		}},
		{"an entry of another amount", Whole, nil, func(h *History) { h.Snapshot.Entries[0].Amount = -11 }},
		{"a balance that its entries do not make", Whole, nil, func(h *History) { h.Snapshot.Accounts[0].Available += 10 }},
		{"an account that nobody touched", "", nil, func(h *History) {
			h.Snapshot.Accounts = append(h.Snapshot.Accounts, Account{"carol", 5, 5})
		}},
		{"told that the store was away, and paid", Honest, nil, func(h *History) {
			*h.attempt("u1") = Attempt{ID: "u1", Key: "unanswered", Kind: Payment, Amount: 40, Start: 1, End: 2, Answered: true, Status: 503, Code: "store-unavailable"}
		}},
		{"told that another request was in progress, and paid", Honest, nil, func(h *History) {
			*h.attempt("u1") = Attempt{ID: "u1", Key: "unanswered", Kind: Payment, Amount: 40, Start: 1, End: 2, Answered: true, Status: 409, Code: "in-progress"}
		}},
		{"told that the outcome is unknown, and paid", "", nil, func(h *History) {
			*h.attempt("u1") = Attempt{ID: "u1", Key: "unanswered", Kind: Payment, Amount: 40, Start: 1, End: 2, Answered: true, Status: 503, Code: CodeUnknown}
		}},
		{"told that the store was away, and paid by another attempt", "", nil, func(h *History) {
			h.attempt("p4").Status, h.attempt("p4").Code = 503, "store-unavailable"
		}},
		{"an answer that nobody understands", Sensible, nil, func(h *History) {
			h.attempt("p4").Status, h.attempt("p4").Code = 500, "internal"
		}},
		{"told of another request that never was", Sensible, []Rule{Ordered}, func(h *History) { h.attempt("p3").Amount = 10 }},
		{"a client that is not served when all is well again", Unstuck, nil, func(h *History) { h.attempt("n1").End = 101 * time.Second }},
		{"a client that leaves when all is well again", "", nil, func(h *History) {
			h.attempt("n1").End, h.attempt("n1").Vanished = 101*time.Second, true
		}},
		{"a client that is served in the end", "", nil, func(h *History) {
			late := *h.attempt("p4")
			late.ID, late.Client, late.Start, late.End = "p7", 1, 101*time.Second, 102*time.Second
			served := *h.attempt("p2")
			served.ID, served.Client, served.Start, served.End = "p8", 1, 102*time.Second, 103*time.Second
			h.Attempts = append(h.Attempts, late, served)
		}},
		{"a key that stays pending", Unstuck, nil, func(h *History) {
			h.Snapshot.Records = append(h.Snapshot.Records, Record{Key: "nothing", State: "pending"})
		}},
		{"a step that is there twice", Stepwise, nil, func(h *History) {
			h.Snapshot.Steps = append(h.Snapshot.Steps, StepRow{Step: Reserve, Key: "card", Attempt: "c2", Amount: 20})
		}},
		{"a step that is missing", Stepwise, nil, func(h *History) { h.Snapshot.Steps = h.Snapshot.Steps[1:] }},
		{"two charges", Stepwise, nil, func(h *History) {
			h.Snapshot.Charges = append(h.Snapshot.Charges, Charge{ID: "ch2", Step: Charged, Downstream: "f", Key: "card", Amount: 20})
		}},
		{"two notices", Stepwise, nil, func(h *History) {
			h.Snapshot.Charges = append(h.Snapshot.Charges, Charge{ID: "no2", Step: Noticed, Downstream: "f", Key: "card", Amount: 20})
		}},
		{"no notice", Stepwise, nil, func(h *History) { h.Snapshot.Charges = h.Snapshot.Charges[:1] }},
		{"no charge", Stepwise, nil, func(h *History) { h.Snapshot.Charges = nil }},
		{"a charge that is not the settled one", Stepwise, nil, func(h *History) { h.Snapshot.Charges[0].ID = "other" }},
		{"a charge of another amount", Stepwise, nil, func(h *History) { h.Snapshot.Charges[0].Amount = 21 }},
		{"a charge that was asked for often", "", nil, func(h *History) { h.Snapshot.Charges[0].Calls = 7 }},
		{"a chain that was begun and forgotten", Stepwise, nil, func(h *History) {
			h.attempt("n1").Kind = Card
			h.Snapshot.Steps = append(h.Snapshot.Steps, StepRow{Step: Reserve, Key: "nothing", Attempt: "n1", Amount: 50})
		}},
		{"nothing there, after it was said to be done", Ordered, nil, func(h *History) {
			h.attempt("p6").Count = 0
		}},
		{"nothing there yet, while it is being done", "", nil, func(h *History) {
			h.attempt("p6").Count, h.attempt("p6").Start, h.attempt("p6").End = 0, time.Second, 2*time.Second
		}},
		{"there before anybody asked for it", Ordered, nil, func(h *History) { h.attempt("p5").Count = 1 }},
		{"there, and then not", Ordered, nil, func(h *History) {
			first, then := *h.attempt("c3"), *h.attempt("c3")
			first.ID, then.ID = "c4", "c5"
			then.Start, then.End, then.Count = 7*time.Second, 8*time.Second, 0
			h.Attempts = append(h.Attempts, first, then)
		}},
		{"told that it is done before the one was sent who did it", Ordered, nil, func(h *History) {
			h.attempt("p2").Start, h.attempt("p2").End = 100, 200
		}},
		{"told of another request that was refused without an answer", "", nil, func(h *History) {
			h.attempt("r1").Answered, h.attempt("r1").Vanished = false, true
			h.attempt("r2").Start, h.attempt("r2").End = 6*time.Second, 7*time.Second
			h.Attempts = append(h.Attempts, Attempt{ID: "r4", Client: 4, Key: "no", Kind: Refusal, Amount: 31, Start: 3 * time.Second, End: 4 * time.Second,
				Answered: true, Status: 422, Code: CodeReused})
		}},
		{"told of another request before that was sent", Sensible, []Rule{Ordered}, func(h *History) {
			h.Attempts = append(h.Attempts, Attempt{ID: "r4", Client: 4, Key: "no", Kind: Refusal, Amount: 31, Start: 100, End: 200,
				Answered: true, Status: 422, Code: CodeReused})
		}},
		{"refused before the one was sent who was refused", Ordered, nil, func(h *History) {
			h.attempt("r2").Start, h.attempt("r2").End = 100, 200
		}},
		{"an attempt without an answer that took effect long after", "", nil, func(h *History) {
			read := *h.attempt("p5")
			read.ID, read.Key, read.Start, read.End = "u2", "unanswered", 50*time.Second, 51*time.Second
			h.Attempts = append(h.Attempts, read)
		}},
		{"a handler that was run twice in a calm run", Undisturbed, nil, func(h *History) {
			h.Run.Calm = true
			h.Executions = append(h.Executions, Execution{Nonce: "n9", Key: "pay", Attempt: "p2", Start: 1, End: 2})
		}},
		{"a refusal that was run twice in a calm run", "", nil, func(h *History) {
			h.Run.Calm = true
			h.Executions = append(h.Executions, Execution{Nonce: "n9", Key: "no", Attempt: "r2", Start: 1, End: 2})
		}},
		{"a refusal that was not finished in a calm run", Undisturbed, nil, func(h *History) {
			h.Run.Calm = true
			h.Executions = append(h.Executions, Execution{Nonce: "n9", Key: "no", Attempt: "r2", Start: 1})
		}},
		{"a handler that was run twice in a storm", "", nil, func(h *History) {
			h.Executions = append(h.Executions, Execution{Nonce: "n9", Key: "pay", Attempt: "p2", Start: 1, End: 2})
		}},
		{"a handler that was not finished in a calm run", Undisturbed, nil, func(h *History) {
			h.Run.Calm = true
			h.Executions[0].End = 0
		}},
		{"a handler whose result is not there in a calm run", Undisturbed, nil, func(h *History) {
			h.Run.Calm = true
			h.Executions = append(h.Executions, Execution{Nonce: "n9", Key: "nothing", Attempt: "n1", Start: 1, End: 2})
		}},
		{"a calm run", "", nil, func(h *History) { h.Run.Calm = true }},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			h := sound()
			c.change(&h)
			verdict := Check(h)
			var want []Rule
			for _, rule := range Rules { // in their order
				if rule == c.rule {
					want = append(want, rule)
				}
				for _, further := range c.further {
					if rule == further {
						want = append(want, rule)
					}
				}
			}
			require.Equal(t, want, verdict.Broken(), verdict)
		})
	}
}

func TestAVerdictNamesTheKeyTheRuleAndTheAttempts(t *testing.T) {
	t.Parallel()
	h := sound()
	h.pays(PaymentRow{ID: 9, Key: "pay", Attempt: "p2", Nonce: "n9", Account: "alice", Amount: 10})
	verdict := Check(h)
	assert.Equal(t, 1, verdict.Duplicates)
	said := verdict.String()
	for _, part := range []string{"once: 2 effects", "(key pay)", "attempt p1: 201", "attempt p2: 201", "replayed", "client 2"} {
		assert.Contains(t, said, part)
	}
	assert.NotContains(t, said, "attempt c1")
}

func TestALogHoldsAWholeHistory(t *testing.T) {
	t.Parallel()
	h := sound()
	var written strings.Builder
	log := NewLog(&written)
	for _, a := range h.Attempts {
		log.Attempt(a)
	}
	require.NoError(t, log.Close(h))
	read, err := Read(strings.NewReader(written.String()))
	require.NoError(t, err)
	assert.Equal(t, h, read)

	_, err = Read(strings.NewReader(written.String() + "{"))
	assert.ErrorContains(t, err, fmt.Sprintf("line %d", strings.Count(written.String(), "\n")+1))
}

func TestALargeHistoryIsJudgedSoon(t *testing.T) {
	t.Parallel()
	h := large(500, 20)
	started := time.Now()
	verdict := Check(h)
	took := time.Since(started)
	require.True(t, verdict.Clean(), verdict)
	t.Logf("%d attempts at %d keys in %v", len(h.Attempts), verdict.Keys, took)
	assert.Less(t, took, 30*time.Second)

	// And a needle in it is found.
	h.Attempts[len(h.Attempts)/2+1].Hash = "other"
	assert.Contains(t, Check(h).Broken(), SameBytes)
}

// large is so many keys, each asked for so often by clients that overlap.
func large(keys, attempts int) History {
	h := History{Run: Run{FaultsEnded: time.Hour}}
	s := &h.Snapshot
	for k := range keys {
		name, hash, nonce := fmt.Sprintf("key-%d", k), fmt.Sprintf("hash-%d", k), fmt.Sprintf("nonce-%d", k)
		id := int64(k + 1)
		at := time.Duration(k) * time.Second
		for n := range attempts {
			a := Attempt{
				ID: fmt.Sprintf("%d-%d", k, n), Client: n, Key: name, Kind: Payment, Amount: 10,
				Start: at + time.Duration(n)*time.Millisecond, End: at + time.Duration(n+12)*time.Millisecond,
				Answered: true, Status: 201, Hash: hash, Payment: id, Nonce: nonce,
			}
			if n%5 == 4 {
				a.Answered = false
			}
			h.Attempts = append(h.Attempts, a)
		}
		s.Payments = append(s.Payments, PaymentRow{ID: id, Key: name, Attempt: fmt.Sprintf("%d-4", k), Nonce: nonce, Account: "alice", Amount: 10})
		s.Entries = append(s.Entries, Entry{id, name, "alice", -10}, Entry{id, name, "shop", 10})
		s.Records = append(s.Records, Record{Key: name, State: "completed", Status: 201, Hash: hash})
	}
	moved := int64(keys) * 10
	s.Accounts = []Account{{"alice", moved, 0}, {"shop", 0, moved}}
	return h
}
