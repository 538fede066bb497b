package stack

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// traffic is clients, one an account, that pay, one key after the other, and repeat each request until there is an answer that stands.
type traffic struct {
	servers []*server
	done    chan struct{}

	mu      sync.Mutex
	over    bool
	paid    []paid
	changed chan struct{}
	answers map[string]int // how often each was given
	longest time.Duration
}

// paid is a payment that a client has the answer to.
type paid struct {
	request
	answer          reply
	begun, answered time.Time
}

func startTraffic(accounts []string, servers ...*server) *traffic {
	tr := &traffic{servers: servers, done: make(chan struct{}), changed: make(chan struct{}), answers: map[string]int{}}
	var all sync.WaitGroup
	for _, account := range accounts {
		all.Go(func() { tr.client(account) })
	}
	go func() { all.Wait(); close(tr.done) }()
	return tr
}

// accounts are n of them.
func accounts(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("account-%d", i)
	}
	return names
}

func (tr *traffic) client(account string) {
	for i := 0; ; i++ {
		tr.mu.Lock()
		over := tr.over
		tr.mu.Unlock()
		if over {
			return
		}
		p := paid{request: payFor(account, fmt.Sprintf("%s-%d", account, i)), begun: time.Now()}
		var before []reply
		first := i % len(tr.servers)
		p.answer, before = persist(p.request, slices.Concat(tr.servers[first:], tr.servers[:first])...)
		p.answered = time.Now()
		tr.mu.Lock()
		for _, r := range append(before, p.answer) {
			tr.answers[r.String()]++
		}
		tr.paid = append(tr.paid, p)
		tr.longest = max(tr.longest, p.answered.Sub(p.begun))
		close(tr.changed)
		tr.changed = make(chan struct{})
		tr.mu.Unlock()
	}
}

// more waits until n more payments have their answer.
func (tr *traffic) more(t *testing.T, n int) {
	t.Helper()
	limit := time.After(patience)
	for start := tr.count(); tr.count() < start+n; {
		tr.mu.Lock()
		changed := tr.changed
		tr.mu.Unlock()
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("the clients have stopped: %d payments", tr.count())
		}
	}
}

func (tr *traffic) count() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.paid)
}

// stop lets every client finish, and returns all payments. Every answer must be one that a client can make sense of.
func (tr *traffic) stop(t *testing.T) []paid {
	t.Helper()
	tr.mu.Lock()
	tr.over = true
	tr.mu.Unlock()
	await(t, "every client has its last answer", tr.done)
	t.Logf("%d payments, answers: %v, longest wait for an answer %v", len(tr.paid), tr.answers, tr.longest.Round(time.Millisecond))
	strange := maps.Clone(tr.answers)
	for _, known := range []string{"201", "409 in-progress", "503 store-unavailable", "503 outcome-unknown"} {
		delete(strange, known)
	}
	assert.Empty(t, strange, "answers that a client cannot make sense of")
	require.NotEmpty(t, tr.paid)
	for _, p := range tr.paid {
		require.Equal(t, 201, p.answer.status, p.answer.body)
	}
	return tr.paid
}
