package httpcontract

// Fasthttp is what fasthttp's server cannot do, for the adapters of the frameworks that stand on it.
var Fasthttp = map[Ability]string{
	HTTP2:       "fasthttp's server speaks HTTP/1.1",
	Disconnects: "fasthttp does not look at a connection while a handler runs",
	Unwrapping:  "fasthttp's response is no http.ResponseWriter",
	LateBodies:  "fasthttp asks for a body, and reads it to its end, before the handler runs; what ends early it answers itself, or not at all",
	Strictness: "fasthttp takes two Hosts, a blank before a colon, Transfer-Encoding twice or beside a length that is none, trailers and chunk extensions " +
		"without an end, and any expectation",
	EqualLengths: "fasthttp refuses them",
	Dates:        "fasthttp sets it",
	Trailers:     "fasthttp knows trailers of its own streams only",
	FullWriters:  "fasthttp's response takes whatever it is given",
}
