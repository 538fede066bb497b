package suite

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// answers feeds lines to a program, and returns its own.
func answers(t *testing.T, name string, lines []string) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), compile(t, plainC, source(name)))
	command.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var complaints bytes.Buffer
	command.Stderr = &complaints
	out, err := command.Output()
	require.NoError(t, err, complaints.String())
	found := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, found, len(lines))
	return found
}

// The C side has the Go side's rules in words of its own.
func TestKeysAreTakenAndRefusedAsInGo(t *testing.T) {
	t.Parallel()
	var keys []string
	for r := rune(0); r <= 0x3100; r++ { // each by itself, where it may be blank, and beside another
		keys = append(keys, string(r), "a"+string(r))
	}
	for _, r := range []rune{0xd7ff, 0xe000, 0xfeff, 0xfffd, 0xffff, 0x10000, 0x1f600, 0x10ffff} {
		keys = append(keys, string(r))
	}
	for first := range 256 { // whatever is not UTF-8
		keys = append(keys, string([]byte{byte(first)}))
		for _, second := range []byte{0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff} {
			for _, rest := range []string{"", "\x80", "\xbf", "\x80\x80", "\xbf\xbf", "\x80\x80\x80"} {
				keys = append(keys, "a"+string([]byte{byte(first), second})+rest)
			}
		}
	}
	for _, n := range []int{0, 1, 254, 255, 256, 300} {
		keys = append(keys, strings.Repeat("k", n), strings.Repeat(" ", n), strings.Repeat("é", n/2))
	}
	var lines []string
	for _, key := range keys {
		lines = append(lines, "k"+hex.EncodeToString([]byte(key)))
	}
	taken := 0
	for i, answer := range answers(t, "rules", lines) {
		want := "0"
		if (idempotency.Key{Scope: "acme", Value: keys[i]}).Check() == nil {
			want, taken = "1", taken+1
		}
		require.Equal(t, want, answer, "%q", keys[i])
	}
	require.NotZero(t, taken)
	require.Less(t, taken, len(keys))
}

func TestHeadersAreTakenAndRefusedAsInGo(t *testing.T) {
	t.Parallel()
	headers := []string{
		"", "\r\n", "A: b\r\n", "A: b", "A: b\r", "A: b\n", "A:b\r\n", "A : b\r\n", "A: \r\n", "A:  \r\n", ": b\r\n", "A\r\n", "A: b\r\nB: c\r\n", "A: b\r\nB",
		"A: b\r\n\r\n", "A: b\rc\r\n", "A: b\nc\r\n", "A: b: c\r\n", "A:b: c\r\n", "a: b\r\n", "X-Trace: 1\r\n", "X-trace: 1\r\n", "x-Trace: 1\r\n", "XTrace: 1\r\n",
		"X--A: 1\r\n", "X--a: 1\r\n", "-A: 1\r\n", "X-1a: 1\r\n", "X-1A: 1\r\n", "A: b\r\nA: c\r\n",
		"Content-Type: text/plain; charset=utf-8\r\n", "ETag: x\r\n", "Etag: x\r\n",
	}
	for _, never := range []string{"Authorization", "Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "Set-Cookie", "Set-Cookie2", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Www-Authenticate", "Set-Cookie3", "Tea", "Dat"} {
		headers = append(headers, never+": x\r\n", "A: b\r\n"+never+": x\r\n")
	}
	for c := range 256 {
		character := string([]byte{byte(c)})
		headers = append(headers, "A"+character+": b\r\n", character+": b\r\n", "A: b"+character+"\r\n", "A-"+character+": b\r\n")
	}
	var lines []string
	for _, header := range headers {
		lines = append(lines, "h"+hex.EncodeToString([]byte(header)))
	}
	taken := 0
	for i, answer := range answers(t, "rules", lines) {
		want := "0"
		if httpidem.DecodeHeader([]byte(headers[i]), func(string, string) {}) == nil {
			want, taken = "1", taken+1
		}
		require.Equal(t, want, answer, "%q", headers[i])
	}
	require.NotZero(t, taken)
	require.Less(t, taken, len(headers))
}

func TestFingerprintsAreThoseOfGo(t *testing.T) {
	t.Parallel()
	var lines, want []string
	add := func(body string, parts ...string) {
		line := ""
		for _, field := range append(parts, body) {
			line += hex.EncodeToString([]byte(field)) + " "
		}
		lines = append(lines, line)
		print := (*idempotency.Fingerprinter)(nil).Sum([]byte(body), parts...)
		want = append(want, hex.EncodeToString(print[:]))
	}
	add("")
	add("", "")
	add("", "", "")
	add("body", "POST", "/payments", "/payments", "", "application/json")
	add("\x00\xff\x00", "\x00", "ü")
	for n := range 300 { // every place at which a block may end
		add(strings.Repeat("b", n), fmt.Sprint(n))
	}
	require.Equal(t, want, answers(t, "fingerprint", lines))
}
