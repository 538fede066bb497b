package service

// Endpoints are "POST /path" of every endpoint.
func Endpoints() (list []string) {
	for path, one := range endpoints {
		if path == "/response/" {
			path += "{idempotency_key}"
		}
		list = append(list, one.method+" "+path)
	}
	return list
}

// ReadMembers, ReadResponse and AppendResponse are what requests are read by, and answers written.
var (
	ReadMembers    = readMembers
	ReadResponse   = readResponse
	AppendResponse = appendResponse
)
