package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
)

// lease is how long a crash blocks a key where a lease alone tells that its owner is gone.
const lease = 500 * time.Millisecond

// serve serves payments until the process is killed, and says on its standard output where.
func serve(encoded string) error {
	var p place
	if err := json.Unmarshal([]byte(encoded), &p); err != nil {
		return err
	}
	till, err := p.open(context.Background())
	if err != nil {
		return err
	}
	engine, err := idempotency.New(till.store, idempotency.Config{})
	if err != nil {
		return err
	}
	adapter, known := adapters[p.Adapter]
	if !known {
		return fmt.Errorf("no adapter %q", p.Adapter)
	}
	handler, err := adapter.Mount(engine, httpcontract.Config{Scope: func(*http.Request) (string, error) { return "alice", nil }}, p.payments(till))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	if adapter.Listen == nil {
		return http.Serve(listener, handler)
	}
	adapter.Listen(listener, handler, 0)
	select {}
}

// payments takes the payment that the request names. No two executions answer the same bytes.
func (p place) payments(till till) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if err := till.pay(r.Context(), key); err != nil {
			http.Error(w, "not paid", http.StatusServiceUnavailable)
			return
		}
		if p.Dies {
			_ = kill(os.Getpid())
			select {}
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "paid by %d at %d", os.Getpid(), time.Now().UnixNano())
	}
}
