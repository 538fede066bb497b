package httpidem

import "net/http"

// EncodeHeader is what is stored of a response's headers.
var EncodeHeader = encodeHeader

// RequestOf is what the completer makes of a description.
var RequestOf = requestOf

// Describe is what the middleware stores of r, whose body was read, where names are the headers that it keeps.
func Describe(r *http.Request, body []byte, names ...string) ([]byte, error) {
	x := &exchange{rules: &Rules{keep: names}, call: Call{Request: r}, body: body}
	return x.describe()
}
