package psp

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

const (
	maxBody      = 16 << 10
	maxKey       = 255
	maxReference = 255
)

// validKey takes what a header brings over unchanged: visible ASCII.
func validKey(key string) bool {
	return len(key) >= 1 && len(key) <= maxKey && strings.IndexFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) < 0
}

// readRequest reads what to charge. What cannot be read is a 400, what can be read and makes no sense a 422; neither uses up
// the key.
func readRequest(w http.ResponseWriter, r *http.Request) (ChargeRequest, card, *reply) {
	var request ChargeRequest
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	complete := decoder.Decode(&request) == nil
	_, err := decoder.Token() // to the end: net/http sees a client go away only after it
	if !complete || !errors.Is(err, io.EOF) {
		return request, card{}, refuse(http.StatusBadRequest, "malformed_body",
			`The body must be one JSON object of at most 16 KiB, such as {"amount":100,"currency":"USD","card":"tok_visa","reference":"order-1"}, with no other fields.`)
	}
	card, known := parseCard(request.Card)
	switch {
	case request.Amount < 1:
		return request, card, unprocessable("invalid_amount", "amount must be 1 or more, in the currency's minor unit: 100 is one dollar.")
	case len(request.Currency) != 3 || strings.Trim(request.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return request, card, unprocessable("invalid_currency", "currency must be three capital letters, such as USD.")
	case len(request.Reference) > maxReference:
		return request, card, unprocessable("invalid_reference", "reference must be at most 255 bytes.")
	case !known:
		return request, card, unprocessable("unknown_card", "card must be a token that this provider knows, such as tok_visa; psp -h lists them.")
	}
	return request, card, nil
}

func unprocessable(code, detail string) *reply {
	return refuse(http.StatusUnprocessableEntity, code, detail)
}
