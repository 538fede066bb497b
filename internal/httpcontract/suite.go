// Package httpcontract is the HTTP contract as tests: what every adapter must hold, on the store in memory, on Postgres, and on any
// other store that an adapter's test brings along.
package httpcontract

import (
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Adapter is the HTTP adapter under test.
type Adapter struct {
	// Mount returns a server's handler, with next behind the adapter's middleware, whatever method and path.
	Mount func(engine *idempotency.Engine, config Config, next http.HandlerFunc) (http.Handler, error)
	// Resume makes the requests of pending keys again, at what Mount has returned or what is around it.
	Resume func(handler http.Handler, config ResumeConfig) idempotency.Resume
	// Engine, where it is set, changes the configuration of every engine: to hold the contract with another one as well.
	Engine func(config *idempotency.Config)
	// UUIDOnly and MinLength are the validators that the adapter offers.
	UUIDOnly  func(key string) error
	MinLength func(n int) func(key string) error
	// WriteProblem is what the adapter offers to answer as its middleware does.
	WriteProblem func(w http.ResponseWriter, err error)
	// OneStatus says that the framework's own writer takes an informational status for the final one.
	OneStatus bool
	// Deferred says that the framework's own writer holds the status back until the first byte: until then another one takes its
	// place, one of 0 or less does not, and headers are not too late.
	Deferred bool
	// Flusher says that the framework's own writer is an http.Flusher, whatever is behind it.
	Flusher bool
	// Stores, where they are set, take the place of the store in memory and the one on Postgres.
	Stores []Store
	// Listen serves handler, which is what Mount has returned or what is around it, on listener by the framework's own server, until
	// stop is called. readTimeout is as http.Server has it. Nil: net/http's server does.
	Listen func(listener net.Listener, handler http.Handler, readTimeout time.Duration) (stop func())
	// Cannot says what the adapter's server cannot do, and why. A test that needs it is skipped with that reason.
	Cannot map[Ability]string
	// Without names tests, as they are listed, that are not for the adapter, and says why: for one whose handlers are in another process.
	Without map[string]string
}

// Store is a store that adapters are held to the contract on. What a test needs of Postgres beyond it, it leaves out.
type Store struct {
	Name string
	// Open opens an empty store.
	Open func(t *testing.T) Damageable
}

// Damageable is a store whose records can be damaged.
type Damageable interface {
	idempotency.Store
	// Damage puts response into the record of key, behind the store's back.
	Damage(key idempotency.Key, response idempotency.Response)
}

// Config is an adapter's configuration, with the plain request in place of a framework's context.
type Config struct {
	Scope              func(r *http.Request) (string, error)
	Headers            []string
	Key                func(r *http.Request, body []byte) (string, error)
	Optional           bool
	MaxKeyBytes        int
	Validate           func(key string) error
	Methods            []string
	MaxRequestBytes    int
	Fingerprinter      *idempotency.Fingerprinter
	FingerprintHeaders []string
	KeepHeaders        []string
	ReplayHeaders      []string
	OnError            func(w http.ResponseWriter, r *http.Request, err *idempotency.Error)
}

// ResumeConfig is an adapter's configuration of Resume.
type ResumeConfig struct {
	Authenticate func(r *http.Request, scope string) (*http.Request, error)
}

type test struct {
	name string
	run  func(w *world)
}

// Run holds adapter to the contract.
func Run(t *testing.T, adapter Adapter) {
	among := stores
	if adapter.Stores != nil {
		among = nil
		for _, store := range adapter.Stores {
			among = append(among, opened{store.Name, func(w *world) { w.store = store.Open(w.T) }})
		}
	}
	tests := slices.Concat(keyTests, requestTests, outcomeTests, duplicateTests, responseTests, bufferingTests, troubleTests, optionTests, recoveryTests, completerTests, limitTests, tenantTests, tamperedTests,
		framingTests, targetTests, encodingTests, lengthTests, writerTests, slowTests, pipeliningTests, streamTests, vanishingTests)
	for name := range adapter.Without {
		if !slices.ContainsFunc(tests, func(test test) bool { return test.name == name }) {
			t.Errorf("Adapter.Without names %q, which is no test", name)
		}
	}
	for _, store := range among {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					if reason, without := adapter.Without[test.name]; without {
						t.Skip(reason)
					}
					t.Parallel()
					w := &world{T: t, adapter: adapter, open: store.open, counter: new(counter)}
					w.open(w)
					test.run(w)
				})
			}
		})
	}
}
