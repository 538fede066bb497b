package torture

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// wire sends each request on a connection of its own: net/http repeats a request with an Idempotency-Key by itself when a
// connection breaks that was used before, and here every attempt is on record.
var wire = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// send makes one attempt at a key, at a server, and notes it.
func (w *world) send(ctx context.Context, to int, k key, made history.Attempt) history.Attempt {
	made.Server, made.Key, made.Kind, made.Amount, made.Start = to, k.name(), k.kind, k.order.Amount, w.now()
	made = w.exchange(ctx, k, made)
	made.End = w.now()
	w.attempted(made)
	return made
}

func (w *world) exchange(ctx context.Context, k key, made history.Attempt) history.Attempt {
	method, path, content := http.MethodPost, "/"+string(k.kind), ""
	if made.Read {
		method, path = http.MethodGet, "/payments/"+k.name()
	} else {
		encoded, _ := json.Marshal(k.order) // strings and an int
		content = string(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+w.servers[made.Server].where()+path, strings.NewReader(content))
	if err != nil {
		return made
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(protocol.KeyHeader, k.name())
	r.Header.Set(protocol.AccountHeader, k.order.Account)
	r.Header.Set(protocol.AttemptHeader, made.ID)
	response, err := wire.Do(r)
	if err != nil {
		return made
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return made // not a whole answer
	}
	made.Answered, made.Status = true, response.StatusCode
	made.Replayed = response.Header.Get("Idempotent-Replayed") == "true"
	hash := sha256.Sum256(body)
	made.Hash = hex.EncodeToString(hash[:])
	made.Headers = response.Header.Get("Content-Type") + " " + response.Header.Get("Location")
	var said struct {
		Code string
		protocol.Receipt
		Payments int
	}
	if json.Unmarshal(body, &said) == nil {
		made.Code, made.Payment, made.Nonce, made.Count = said.Code, said.Payment, said.Nonce, said.Payments
	}
	return made
}

// again is how long a client waits before it tries once more.
func again(made history.Attempt, drawn float64) time.Duration {
	most := 60 * time.Millisecond
	if made.Status == http.StatusConflict { // what is in progress may be done in an instant: be there
		most = 40 * time.Millisecond
	}
	return time.Duration(drawn * float64(most))
}
