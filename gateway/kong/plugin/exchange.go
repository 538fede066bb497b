package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/Kong/go-pdk"

	"github.com/onlyonce/onlyonce/idempotency"
)

// exchange is one phase of one request.
type exchange struct {
	kong   *pdk.PDK
	config *Config
	*settings
}

// patience bounds what a phase does with the store, and patienceInLog the one thing that Log does: Kong runs Log in a timer, of which a worker has
// but so many.
var (
	patience      = 5 * time.Second
	patienceInLog = 2 * time.Second
)

// tell writes to Kong's log. Texts hold no key, no token and nothing of a body.
func (x *exchange) tell(write func(...any) error, text string, err error) {
	if err != nil {
		text += ": " + err.Error()
	}
	_ = write(text)
}

// again does what may be done twice until the store answers, or ctx ends.
func again(ctx context.Context, do func() error) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := do()
		if !errors.Is(err, idempotency.ErrStoreUnavailable) && !errors.Is(err, idempotency.ErrOutcomeUnknown) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

var errPanic = errors.New("onlyonce: a defect of the plugin; please report it")

// recoverAccess has a request refused, rather than sent to the service unprotected, and keeps the plugin server alive, which serves other requests.
// The service gets nothing of the request, so that what it may have claimed can be freed.
func recoverAccess(kong *pdk.PDK) {
	cause := recover()
	if cause == nil {
		return
	}
	_ = kong.Log.Err(fmt.Sprintf("%v: in access: %T\n%s", errPanic, cause, debug.Stack()))
	if c, err := carried(kong); err == nil && c != nil {
		c.state = unneeded
		_ = carry(kong, c)
	}
	refuse(kong, errPanic)
}

// recoverLater leaves the rest to the lease.
func recoverLater(kong *pdk.PDK, phase string) {
	if cause := recover(); cause != nil {
		_ = kong.Log.Err(fmt.Sprintf("%v: in %s: %T\n%s", errPanic, phase, cause, debug.Stack()))
	}
}
