package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

// DecodeOrder reads the body of a payment: one JSON object, nothing after it, no field that it does not know and none twice.
// encoding/json alone would take {"AMOUNT":1}, and of {"amount":1,"amount":100} the last, where another parser on the way may
// have seen the first.
//
// What cannot be read is a 400, what can be read and makes no sense a 422. The middleware has bounded and buffered the body.
func DecodeOrder(body io.Reader) (ledger.Order, error) {
	var amount, currency, reference json.RawMessage
	err := readObject(body, map[string]*json.RawMessage{"amount": &amount, "currency": &currency, "reference": &reference})
	if err != nil {
		return ledger.Order{}, err
	}
	var order ledger.Order
	if order.Currency, err = readString("currency", currency); err != nil {
		return ledger.Order{}, err
	}
	if order.Reference, err = readString("reference", reference); err != nil {
		return ledger.Order{}, err
	}
	order.Amount, err = readAmount(amount)
	return order, err
}

// DecodeCardOrder reads the body of a card payment, as DecodeOrder does.
func DecodeCardOrder(body io.Reader) (ledger.CardOrder, error) {
	var amount, currency, card json.RawMessage
	err := readObject(body, map[string]*json.RawMessage{"amount": &amount, "currency": &currency, "card": &card})
	if err != nil {
		return ledger.CardOrder{}, err
	}
	var order ledger.CardOrder
	if order.Currency, err = readString("currency", currency); err != nil {
		return ledger.CardOrder{}, err
	}
	if order.Card, err = readString("card", card); err != nil {
		return ledger.CardOrder{}, err
	}
	order.Amount, err = readAmount(amount)
	return order, err
}

func readObject(body io.Reader, fields map[string]*json.RawMessage) error {
	decoder := json.NewDecoder(body)
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return badRequest("malformed-body", `The body must be a JSON object such as {"amount":100,"currency":"USD"}.`)
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return badRequest("malformed-body", "The body is not complete, correct JSON.")
		}
		field, known := fields[name.(string)]
		if !known {
			return badRequest("unknown-field", "The body has a field that is not one of "+strings.Join(slices.Sorted(maps.Keys(fields)), ", ")+".")
		}
		if *field != nil {
			return badRequest("repeated-field", "The body has a field twice.")
		}
		if err := decoder.Decode(field); err != nil {
			return badRequest("malformed-body", "The body is not complete, correct JSON.")
		}
	}
	if _, err := decoder.Token(); err != nil {
		return badRequest("malformed-body", "The body is not complete, correct JSON.")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badRequest("malformed-body", "The body has something after the JSON object.")
	}
	return nil
}

func readString(name string, raw json.RawMessage) (string, error) {
	if raw == nil {
		return "", nil
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", badRequest("wrong-type", "The field "+name+" must be a string.")
	}
	return *text, nil
}

// readAmount reads digits, never a float: 0.1 has no exact float64, and neither has 9007199254740993.
func readAmount(raw json.RawMessage) (int64, error) {
	if raw == nil {
		return 0, ledger.Refuse(ledger.InvalidAmount, "amount is missing")
	}
	if c := raw[0]; c != '-' && (c < '0' || c > '9') {
		return 0, badRequest("wrong-type", "The field amount must be a number.")
	}
	if bytes.ContainsAny(raw, ".eE") {
		return 0, ledger.Refuse(ledger.InvalidAmount, "amount must be a whole number of minor units, written without fraction or exponent")
	}
	amount, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, ledger.Refuse(ledger.InvalidAmount, "amount is out of the range of a 64-bit integer")
	}
	return amount, nil
}
