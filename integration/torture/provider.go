package torture

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// provider charges cards: once for each downstream key, slowly, and not always with an answer. It is not tortured itself.
type provider struct {
	mu      sync.Mutex
	random  *mathrand.Rand
	seen    map[string]bool            // downstream keys
	charges map[string]*history.Charge // by downstream key
	// reliable has it answer every request.
	reliable atomic.Bool
}

func newProvider(seed uint64) *provider {
	return &provider{random: mathrand.New(mathrand.NewPCG(seed, 0)), seen: map[string]bool{}, charges: map[string]*history.Charge{}}
}

// Calls take long enough to be killed in, and those that are repeated take longer: an attempt that was stopped, and whose successor
// makes its call again, is to wake before that is done.
const (
	callsFrom, callsTo     = 50 * time.Millisecond, 500 * time.Millisecond
	repeatsFrom, repeatsTo = 400 * time.Millisecond, time.Second
)

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked protocol.Charge
	downstream := r.Header.Get(protocol.KeyHeader)
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || downstream == "" {
		http.Error(w, "what?", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	before, after := p.takes(p.seen[downstream]), p.takes(p.seen[downstream])
	p.seen[downstream] = true
	luck := p.random.IntN(20)
	if p.reliable.Load() {
		luck = 20
	}
	p.mu.Unlock()

	// A caller who goes away does not stop it.
	time.Sleep(before)
	if luck == 0 { // before anything is done
		http.Error(w, "try again", http.StatusInternalServerError)
		return
	}
	made := p.charge(downstream, strings.TrimPrefix(r.URL.Path, "/"), asked)
	time.Sleep(after)
	switch {
	case luck == 1: // the charge stands
		http.Error(w, "try again", http.StatusInternalServerError)
	case made.Amount != asked.Amount || made.Key != asked.Reference: // cannot be, unless keys repeat
		http.Error(w, "this key is another charge's", http.StatusUnprocessableEntity)
	default:
		_ = json.NewEncoder(w).Encode(protocol.Charge{ID: made.ID, Reference: made.Key, Amount: made.Amount})
	}
}

// takes draws half of a call's length. The caller holds mu.
func (p *provider) takes(repeated bool) time.Duration {
	from, to := callsFrom, callsTo
	if repeated {
		from, to = repeatsFrom, repeatsTo
	}
	return (from + time.Duration(p.random.Int64N(int64(to-from)))) / 2
}

func (p *provider) charge(downstream, step string, asked protocol.Charge) history.Charge {
	p.mu.Lock()
	defer p.mu.Unlock()
	made := p.charges[downstream]
	if made == nil {
		made = &history.Charge{ID: "ch_" + rand.Text()[:12], Step: step, Downstream: downstream, Key: asked.Reference, Amount: asked.Amount}
		p.charges[downstream] = made
	}
	made.Calls++
	return *made
}

// all returns every charge.
func (p *provider) all() []history.Charge {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []history.Charge
	for _, downstream := range slices.Sorted(maps.Keys(p.charges)) {
		all = append(all, *p.charges[downstream])
	}
	return all
}
