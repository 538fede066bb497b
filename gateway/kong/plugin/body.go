package plugin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"

	"github.com/onlyonce/onlyonce/idempotency"
)

// requestBody reads the client's body, which must not be larger than limit. Above client_body_buffer_size, 8 kB or 16 kB by default, nginx puts a
// body into a file, which go-pdk would read to its end however large it is.
func requestBody(kong *pdk.PDK, header http.Header, limit int) ([]byte, error) {
	if length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64); err == nil && length > int64(limit) {
		return nil, idempotency.ErrRequestTooLarge
	}
	result := &kong_plugin_protocol.RawBodyResult{}
	if err := kong.Request.Ask("kong.request.get_raw_body", nil, result); err != nil {
		return nil, err
	}
	body := result.GetContent()
	switch kind := result.Kind.(type) {
	case *kong_plugin_protocol.RawBodyResult_BodyFilepath:
		read, err := readFile(kind.BodyFilepath, limit)
		if err != nil {
			return nil, fmt.Errorf("onlyonce: the file in which nginx keeps the request's body cannot be read; the plugin server must run as nginx's user, "+
				"on its machine: %w", err)
		}
		body = read
	case *kong_plugin_protocol.RawBodyResult_Error:
		return nil, fmt.Errorf("onlyonce: Kong cannot tell the request's body: %s", kind.Error)
	}
	if len(body) > limit {
		return nil, idempotency.ErrRequestTooLarge
	}
	return body, nil
}

// readFile reads a byte more than limit, so that what is longer shows.
func readFile(path string, limit int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, int64(limit)+1))
}

// responseBody reads the service's body, which Kong has buffered. go-pdk takes a body that Kong cannot tell for an empty one, and Kong, then, names the
// file of the request's body where there is one.
func responseBody(kong *pdk.PDK) ([]byte, error) {
	result := &kong_plugin_protocol.RawBodyResult{}
	if err := kong.ServiceResponse.Ask("kong.service.response.get_raw_body", nil, result); err != nil {
		return nil, err
	}
	switch result.Kind.(type) {
	case nil, *kong_plugin_protocol.RawBodyResult_Content:
		return result.GetContent(), nil
	}
	return nil, errors.New("onlyonce: Kong cannot tell the service's body: has another plugin switched buffering off?")
}
