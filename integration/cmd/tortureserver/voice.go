package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/idempotency"

	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// voice tells who started the server what happens. A line is out when say returns, whatever becomes of the process.
type voice struct {
	mu  sync.Mutex
	out *json.Encoder
}

func newVoice(out io.Writer) *voice { return &voice{out: json.NewEncoder(out)} }

func (v *voice) say(what protocol.Said) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.out.Encode(what) // nobody listens any more: the end is near
}

// failed tells the code of a database error, if err is one.
func (v *voice) failed(err error) {
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		v.say(protocol.Said{SQLState: refused.Code})
	}
}

// observe is the engine's observer.
func (v *voice) observe(_ context.Context, e idempotency.Event) {
	if e.Kind == idempotency.UnknownResolved {
		v.say(protocol.Said{ReadBack: &protocol.ReadBack{Happened: e.Err == nil}})
	}
	if e.Err != nil {
		v.failed(e.Err)
	}
}

// obey does what comes by standard input, and returns when that closes.
func (v *voice) obey(in io.Reader) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		if command != protocol.ClockCommand {
			continue
		}
		seconds, err := strconv.ParseInt(argument, 10, 64)
		if err != nil || moveClock == nil {
			v.say(protocol.Said{Clock: &protocol.Clock{Fixed: true}})
			continue
		}
		moveClock(seconds)
		v.say(protocol.Said{Clock: &protocol.Clock{Seconds: seconds}})
	}
}
