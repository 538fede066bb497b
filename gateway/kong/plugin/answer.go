package plugin

import (
	"errors"
	"net/http"

	"github.com/Kong/go-pdk"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// answer is an http.ResponseWriter whose response Kong sends.
type answer struct {
	header http.Header
	status int
	body   []byte
}

func newAnswer() *answer { return &answer{header: http.Header{}} }

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, b...)
	return len(b), nil
}

// exit has Kong send the answer. Kong does not reply to it: this returns when the request is over and Kong lets go of the connection, or never, as
// far as anybody may rely on it. So nothing may be held here, and nothing left to do.
func (a *answer) exit(kong *pdk.PDK) {
	_ = kong.Response.Ask("kong.response.exit", exitArgs(a.status, a.header, a.body), nil)
	_ = kong.Response.Close()
}

// refusal is a problem that only this gateway has.
type refusal struct{ problem httpidem.Problem }

func (r *refusal) Error() string { return "onlyonce: " + r.problem.Detail }

// unbuffered refuses what Kong passes on without running Response, so that nothing of the answer could be kept.
func unbuffered(what, cure string) error {
	return &refusal{httpidem.Problem{
		Type:      httpidem.TypeBase + "protocol-unsupported",
		Title:     "Protocol unsupported",
		Status:    http.StatusNotImplemented,
		Detail:    what + " cannot be protected by this gateway, and was not passed on. " + cure,
		Code:      "protocol-unsupported",
		Retryable: false,
		KeyAction: idempotency.Reuse,
	}}
}

// notRun is what the client gets to see of an error that is the gateway's own.
var notRun = &idempotency.Error{Code: idempotency.CodeInternal, Detail: "The gateway could not protect the operation, and has not passed it on."}

// isDefect reports whether err is of no concern to the client.
func isDefect(err error) bool {
	own, other := (*idempotency.Error)(nil), (*refusal)(nil)
	return !errors.As(err, &own) && !errors.As(err, &other)
}

// refuse answers with a problem document.
func refuse(kong *pdk.PDK, err error) {
	a := newAnswer()
	if other := (*refusal)(nil); errors.As(err, &other) {
		other.problem.Write(a, 0)
	} else {
		if isDefect(err) {
			err = notRun
		}
		httpidem.WriteProblem(a, err)
	}
	a.exit(kong)
}
