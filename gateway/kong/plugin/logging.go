package plugin

import (
	"context"
	"errors"

	"github.com/onlyonce/onlyonce/idempotency"
)

// log resolves what this very request has claimed and no Response has settled. Kong's source says little: "exit" is a replay, a refused connection, a
// time-out and a cut body alike, and the status of a cut body may be 200; what counts is what the claim says.
func (x *exchange) log() {
	kong := x.kong
	c, err := carried(kong)
	if err != nil {
		x.tell(kong.Log.Err, "a claim is left to its lease", err)
		return
	}
	if c == nil || c.state == answered {
		return
	}
	if x.settings, err = x.config.settings(); err != nil {
		x.tell(kong.Log.Err, "a claim is left to its lease", err)
		return
	}
	if c.state != unneeded {
		source, err := kong.Response.GetSource()
		switch {
		case err != nil || source == "service":
			// Where it was a client by HTTP/2, the service has answered, and nobody can tell what: that is no reason to ask it again.
			x.tell(kong.Log.Err, "the service may have answered, and Kong ran no response phase, which it leaves out for HTTP/2 up to 3.8: "+
				"the key stays pending until the lease is over", err)
			return
		case x.hold:
			_ = kong.Log.Warn("onlyonce: the service did not answer, and may have done what it was asked for: the key stays pending until the lease is over")
			return
		}
	}
	err = x.place.lend(func(leaser idempotency.Leaser) error {
		ctx, cancel := context.WithTimeout(context.Background(), patienceInLog)
		defer cancel()
		return leaser.Free(ctx, c.key, c.owner)
	})
	if err != nil && !errors.Is(err, idempotency.ErrLeaseLost) {
		x.tell(kong.Log.Err, "a key was not freed, and is left to its lease", err)
	}
}
