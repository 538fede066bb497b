package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// request is what any of the calls sends; each leaves out what it has not.
type request struct {
	Key          string    `json:"idempotency_key"`
	Fingerprint  string    `json:"request_fingerprint,omitempty"`
	LockDuration int64     `json:"lock_duration,omitempty"`
	LockValue    string    `json:"lock_value,omitempty"`
	Remember     int64     `json:"remember,omitempty"`
	Retention    int64     `json:"retention,omitempty"`
	Response     *response `json:"response,omitempty"`
}

func (r request) encode() []byte {
	text, _ := json.Marshal(r) // strings, numbers and bytes
	return text
}

// response is one with its body in base64.
type response struct {
	StatusCode int         `json:"status_code"`
	Headers    http.Header `json:"headers"`
	Body       []byte      `json:"body"`
	Encoding   string      `json:"body_encoding"`
}

func encodeResponse(of idempotency.Response) (*response, error) {
	if of.Status < 200 || of.Status > 599 {
		return nil, idempotency.ErrInternal.Because(fmt.Errorf("client: a response of status %d cannot be stored: the service keeps HTTP responses", of.Status))
	}
	header := http.Header{}
	if err := httpidem.DecodeHeader(of.Header, func(name, value string) { header[name] = append(header[name], value) }); err != nil {
		return nil, idempotency.ErrInternal.Because(err)
	}
	body := of.Body
	if body == nil {
		body = []byte{} // nil would be null
	}
	return &response{of.Status, header, body, api.Base64}, nil
}

// answerBytes is no less than an answer with this response has: six bytes for one of a header, as JSON may escape it.
func answerBytes(of idempotency.Response) int64 {
	const around = 1024
	return int64(base64.StdEncoding.EncodedLen(len(of.Body)) + 6*len(of.Header) + around)
}

// milliseconds rounds up: a lease must not be over before its owner thinks it is.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

func fingerprint(of idempotency.Fingerprint) string {
	if of == (idempotency.Fingerprint{}) {
		return ""
	}
	return api.FormatFingerprint(of)
}

// reply is an answer of the service.
type reply struct {
	status int
	header http.Header
	body   []byte
}

var errStrange = idempotency.ErrInternal.Because(errors.New("client: the answer cannot be understood: is this URL an onlyonced's, of the same version?"))

// says reports whether the answer is this outcome: a status alone could be anybody's.
func (r *reply) says(status int, outcome string) bool {
	var said struct {
		Outcome string `json:"outcome"`
	}
	return r.status == status && json.Unmarshal(r.body, &said) == nil && said.Outcome == outcome
}

func (r *reply) attempt() (int, error) {
	var claimed struct {
		Outcome string `json:"outcome"`
		Attempt int    `json:"attempt"`
	}
	if err := json.Unmarshal(r.body, &claimed); err != nil || claimed.Outcome != api.Claimed || claimed.Attempt < 1 {
		return 0, errStrange
	}
	return claimed.Attempt, nil
}

func (r *reply) record() (*idempotency.Record, error) {
	var completed struct {
		Outcome       string   `json:"outcome"`
		Fingerprint   string   `json:"stored_fingerprint"`
		RetentionLeft int64    `json:"retention_left"`
		Response      response `json:"response"`
	}
	if err := json.Unmarshal(r.body, &completed); err != nil || completed.Outcome != api.Completed || completed.Response.Encoding != api.Base64 {
		return nil, errStrange
	}
	header, err := httpidem.EncodeGiven(completed.Response.Headers)
	if err != nil {
		return nil, idempotency.ErrRecordUnreadable.Because(err)
	}
	record := &idempotency.Record{
		Response: idempotency.Response{Status: completed.Response.StatusCode, Header: header, Body: completed.Response.Body},
		Left:     time.Duration(completed.RetentionLeft) * time.Millisecond,
	}
	if completed.Fingerprint != "" {
		var ok bool
		if record.Fingerprint, ok = api.ParseFingerprint(completed.Fingerprint); !ok {
			return nil, errStrange
		}
	}
	return record, nil
}

// document returns the problem that was answered, if it was one of the service's.
func (r *reply) document() (document httpidem.Problem, ok bool) {
	media, _, _ := mime.ParseMediaType(r.header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(r.body, &document) != nil {
		return document, false
	}
	return document, document.Code != ""
}

func (r *reply) code() string {
	document, _ := r.document()
	return string(document.Code)
}

// uncertain reports whether the answer leaves open what has happened: it comes from something in between, or the service does not know.
func (r *reply) uncertain() bool {
	document, ok := r.document()
	return r.status >= http.StatusInternalServerError && (!ok || document.Code == idempotency.CodeOutcomeUnknown)
}

// words are the library's for what the service says.
var words = map[string]*idempotency.Error{
	api.ConcurrentProcess:   idempotency.ErrInProgress,
	api.FingerprintConflict: idempotency.ErrKeyReused,
	api.LockLost:            idempotency.ErrLeaseLost,
	api.ScopeMissing:        idempotency.ErrScopeMissing,
}

// problem returns what the service refused as an error of the library's.
func (r *reply) problem() error {
	document, ok := r.document()
	if !ok {
		return errStrange
	}
	if known := words[string(document.Code)]; known != nil {
		return known
	}
	switch code := string(document.Code); code {
	case api.Unauthorized, api.ScopeForbidden: // nothing is run before an operator has put this right, and a retry works then
		return idempotency.ErrStoreUnavailable.Because(
			fmt.Errorf("client: the service answered %s: configure a token, or a certificate, that may use the scope", code))
	case api.RequestInvalid, api.RouteUnknown, api.MethodNotAllowed:
		return idempotency.ErrInternal.Because(fmt.Errorf("client: the service answered %s: %s", code, document.Detail))
	}
	if !slices.Contains(idempotency.Codes(), document.Code) {
		return errStrange
	}
	e := &idempotency.Error{Code: document.Code, Detail: document.Detail}
	if seconds, err := strconv.Atoi(r.header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 3600 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
