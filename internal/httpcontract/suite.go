// Package httpcontract is the HTTP contract as tests: what every adapter must hold, on the store in memory and on Postgres.
package httpcontract

import (
	"net/http"
	"slices"
	"testing"

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
	// Flusher says that the framework's own writer is an http.Flusher, whatever is behind it.
	Flusher bool
	// Cannot says what the adapter's server cannot do, and why. A test that needs it is skipped with that reason.
	Cannot map[Ability]string
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
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range slices.Concat(keyTests, requestTests, outcomeTests, duplicateTests, responseTests, bufferingTests, troubleTests, optionTests, recoveryTests, completerTests, limitTests, tenantTests, tamperedTests,
				framingTests, targetTests, encodingTests, lengthTests, writerTests, slowTests, pipeliningTests, streamTests, vanishingTests) {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					w := &world{T: t, adapter: adapter, counter: new(counter)}
					store.open(w)
					test.run(w)
				})
			}
		})
	}
}
