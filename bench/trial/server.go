package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/onlyonce/onlyonce/bench/child"
	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/line"
	"github.com/onlyonce/onlyonce/bench/payment"
	"github.com/onlyonce/onlyonce/bench/site"
)

// Roles are what children of this program do.
var Roles = map[string]child.Role{
	line.Role:  line.Serve,
	serverRole: runServer,
	herdRole:   runHerd,
	victimRole: runVictim,
}

const serverRole = "server"

// serverOrder says what a server serves, on the listener that is its first file.
type serverOrder struct {
	site.Coordinates
	Kind string
}

// runServer serves payments under a contender until it is killed, or its parent is.
func runServer(order []byte) error {
	var o serverOrder
	if err := json.Unmarshal(order, &o); err != nil {
		return err
	}
	kind, known := contender.Find(o.Kind)
	if !known {
		return fmt.Errorf("no contender %q", o.Kind)
	}
	ctx := context.Background()
	place, _, err := o.Place(ctx, killClients)
	if err != nil {
		return err
	}
	place.Stale = killStale
	pays, err := kind.Open(ctx, place)
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println("true") // ready
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A payment that has begun is not given up with its client.
		body, err := pays.Pay(context.WithoutCancel(r.Context()), r.Header.Get("Idempotency-Key"))
		switch {
		case errors.Is(err, contender.ErrBusy):
			w.WriteHeader(http.StatusConflict)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			w.WriteHeader(payment.Status)
			_, _ = w.Write(body)
		}
	}))
}
