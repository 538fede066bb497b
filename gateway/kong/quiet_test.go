package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheLogLeavesOutWhatIsUsual(t *testing.T) {
	t.Parallel()
	for line, told := range map[string]bool{
		"2026/01/02 03:04:05 EOF\n": false,
		"2026/01/02 03:04:05 write unix /x.socket->@: use of closed network connection\n":           false,
		"2026/01/02 03:04:05 unexpected EOF\n":                                                      true,
		"2026/01/02 03:04:05 Listening on socket: /usr/local/kong/onlyonce.socket\n":                true,
		"2026/01/02 03:04:05 decoding config: json: cannot unmarshal number into Go struct field\n": true,
		"2026/01/02 03:04:05 EOF is what this begins with\n":                                        true,
	} {
		var b bytes.Buffer
		n, err := quiet{&b}.Write([]byte(line))
		assert.NoError(t, err)
		assert.Equal(t, len(line), n)
		assert.Equal(t, told, b.Len() > 0, line)
	}
}
