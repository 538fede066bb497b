package psp

import (
	"encoding/json"
	"net/http"
)

// The codes that a program branches on.
const (
	codeDeclined   = "card_declined"
	codeInvalidKey = "invalid_key"
	codeInProgress = "in_progress"
	codeKeyReused  = "key_reused"
)

const detailInvalidKey = "Send one Idempotency-Key header of 1 to 255 visible ASCII characters, the same each time that this charge is sent."

// problem is the body of every reply that is not a success.
type problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

type reply struct {
	status     int
	body       any
	replayed   bool
	retryLater bool
}

func refuse(status int, code, detail string) *reply {
	return &reply{status: status, body: problem{code, detail}}
}

var (
	// failure is the same before and after a charge: a client must not be able to tell.
	failure = *refuse(http.StatusInternalServerError, "internal", "Something went wrong. Send the same request again with the same Idempotency-Key.")
	// noReply closes the connection.
	noReply = reply{}
)

func (r reply) again() reply {
	r.replayed = true
	return r
}

func (r reply) send(w http.ResponseWriter) {
	if r.status == 0 {
		drop(w)
		return
	}
	text, _ := json.Marshal(r.body) // strings and numbers: it cannot fail
	header := w.Header()
	header.Set("Content-Type", "application/json")
	if r.replayed {
		header.Set("Idempotent-Replayed", "true")
	}
	if r.retryLater {
		header.Set("Retry-After", "1")
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(append(text, '\n')) // a client that has gone cannot be told
}

func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // no connection of its own, as in HTTP/2: net/http resets the stream
	}
	_ = conn.Close()
}
