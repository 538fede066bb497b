package service

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// readResponse reads a response as callers send it. A body that is a JSON value is stored as it was sent, byte for byte, and has to be called JSON
// by its Content-Type; where there is none, it is given one. Any other travels as base64. No body, or null, is an empty one.
func readResponse(raw json.RawMessage) (idempotency.Response, error) {
	var response idempotency.Response
	if raw == nil {
		return response, invalid(api.ResponseMember + " is missing: give status_code, headers and body.")
	}
	m, err := readMembers(raw, api.StatusCode, api.Headers, api.Body, api.BodyEncoding)
	if err != nil {
		return response, err
	}
	status, err := strconv.Atoi(string(m[api.StatusCode]))
	if err != nil || status < 200 || status > 599 {
		return response, invalid("status_code must be a number from 200 to 599.")
	}
	response.Status = status
	header, err := readHeader(m[api.Headers])
	if err != nil {
		return response, err
	}
	encoding, err := m.text(api.BodyEncoding)
	if err != nil {
		return response, err
	}
	switch body := m[api.Body]; {
	case encoding == api.Base64:
		text, err := m.text(api.Body)
		if err != nil {
			return response, err
		}
		if response.Body, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
			return response, invalid("body is not base64, with padding and without line breaks.")
		}
	case encoding != "" || m[api.BodyEncoding] != nil:
		return response, invalid(`body_encoding must be "base64", or be left out for a body that is a JSON value.`)
	case body == nil || string(body) == "null":
	default:
		response.Body = body
		if err := callJSON(header); err != nil {
			return response, err
		}
	}
	if response.Header, err = httpidem.EncodeGiven(header); err != nil {
		return response, invalid("headers: " + err.Error() + ".")
	}
	return response, nil
}

// callJSON makes sure that who gets the response takes its body for what it is.
func callJSON(header http.Header) error {
	var types []string
	for name, values := range header {
		switch http.CanonicalHeaderKey(name) {
		case "Content-Encoding":
			return invalid("A body that is sent as JSON is not compressed: leave Content-Encoding out, or send the compressed bytes as base64.")
		case "Content-Type":
			types = append(types, values...)
		}
	}
	if len(types) == 0 {
		header["Content-Type"] = []string{"application/json"}
	} else if len(types) > 1 || !isJSON(types[0]) {
		return invalid(`The response's Content-Type says that its body is not JSON: send the body as base64, with "body_encoding": "base64".`)
	}
	return nil
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}

// readHeader reads an object whose values are strings or lists of strings.
func readHeader(raw json.RawMessage) (http.Header, error) {
	wrong := invalid("headers must be an object, whose values are strings or lists of strings, each name there once.")
	header := http.Header{}
	if raw == nil {
		return header, nil
	}
	values, err := readMembers(raw)
	if err != nil {
		return nil, wrong
	}
	for name, value := range values {
		if bytes.HasPrefix(value, []byte(`"`)) {
			value = append(append([]byte{'['}, value...), ']')
		}
		var list []*string
		if err := json.Unmarshal(value, &list); err != nil || list == nil {
			return nil, wrong
		}
		header[name] = []string{}
		for _, one := range list {
			if one == nil {
				return nil, wrong
			}
			header[name] = append(header[name], *one)
		}
	}
	return header, nil
}

// appendResponse writes a stored response as callers read it. Its body is a JSON value where the Content-Type says so and it is one, null where it is
// empty, and base64 in any other case, or where that is asked for.
func appendResponse(b []byte, stored idempotency.Response, asBase64 bool) ([]byte, error) {
	if stored.Status < 200 || stored.Status > 599 {
		return nil, idempotency.ErrRecordUnreadable
	}
	header := http.Header{}
	if err := httpidem.DecodeHeader(stored.Header, func(name, value string) { header[name] = append(header[name], value) }); err != nil {
		return nil, idempotency.ErrRecordUnreadable.Because(err)
	}
	headers, _ := json.Marshal(header) // a map of strings
	b = append(b, `{"status_code":`...)
	b = strconv.AppendInt(b, int64(stored.Status), 10)
	b = append(append(b, `,"headers":`...), headers...)
	b = append(b, `,"body":`...)
	types := header["Content-Type"]
	switch {
	case len(stored.Body) == 0 && !asBase64:
		b = append(b, `null`...)
	case !asBase64 && len(types) == 1 && isJSON(types[0]) && header["Content-Encoding"] == nil && isValue(stored.Body):
		b = append(b, stored.Body...)
	default:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, stored.Body)
		b = append(b, `","body_encoding":"base64"`...)
	}
	return append(b, '}'), nil
}

// isValue reports whether body is one JSON value, but null: that stands for no body.
func isValue(body []byte) bool {
	return utf8.Valid(body) && json.Valid(body) && string(bytes.TrimSpace(body)) != "null"
}
