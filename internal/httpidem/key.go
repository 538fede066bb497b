package httpidem

import (
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
)

// ParseKey reads the values of the key headers of one request: [idempotency.ErrKeyMissing] for none, and
// [idempotency.ErrKeyInvalid] for more than one, since two proxies that each take another one would disagree.
//
// A value that begins with a quote is a structured-field string (RFC 8941, section 3.3.3), parsed strictly, its parameters
// checked and ignored. Any other is 1 to 255 bytes of visible ASCII without quote, comma and semicolon. "k1" and k1 are the same key.
func ParseKey(values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", idempotency.ErrKeyMissing
	case 1:
	default:
		return "", idempotency.ErrKeyInvalid
	}
	value := strings.Trim(values[0], " \t")
	key, ok := value, false
	if strings.HasPrefix(value, `"`) {
		var rest string
		if key, rest, ok = cutString(value); ok {
			ok = parameters(rest) && strings.TrimSpace(key) != ""
		}
	} else {
		ok = key != "" && span(key, func(_ int, c byte) bool {
			return c >= 0x21 && c <= 0x7e && c != '"' && c != ',' && c != ';'
		}) == len(key)
	}
	if !ok || len(key) > idempotency.MaxKeyBytes {
		return "", idempotency.ErrKeyInvalid
	}
	return key, nil
}

// cutString cuts a structured-field string from the front of s, which begins with a quote.
func cutString(s string) (text, rest string, ok bool) {
	end := strings.IndexAny(s[1:], `"\`)
	if end >= 0 && s[1+end] == '"' && printable(s[1:1+end]) {
		return s[1 : 1+end], s[end+2:], true // nothing is escaped
	}
	var unescaped strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return unescaped.String(), s[i+1:], true
		case c == '\\':
			i++
			if i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", "", false
			}
			unescaped.WriteByte(s[i])
		case c < 0x20 || c > 0x7e:
			return "", "", false
		default:
			unescaped.WriteByte(c)
		}
	}
	return "", "", false
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c > 0x7e })
}

// parameters reports whether s is a list of structured-field parameters, or empty.
func parameters(s string) bool {
	for s != "" {
		if s[0] != ';' {
			return false
		}
		s = strings.TrimLeft(s[1:], " ")
		name := span(s, func(i int, c byte) bool {
			return c >= 'a' && c <= 'z' || c == '*' || i > 0 && (c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.')
		})
		if name == 0 {
			return false
		}
		s = s[name:]
		if !strings.HasPrefix(s, "=") {
			continue
		}
		s = s[1:]
		if strings.HasPrefix(s, `"`) {
			var ok bool
			if _, s, ok = cutString(s); !ok {
				return false
			}
			continue
		}
		value := span(s, func(_ int, c byte) bool {
			return c > 0x20 && c < 0x7f && !strings.ContainsRune(`",;\()<>@[]{}`, rune(c))
		})
		if value == 0 {
			return false
		}
		s = s[value:]
	}
	return true
}

// span returns the length of the longest prefix of s whose bytes are in.
func span(s string, in func(i int, c byte) bool) int {
	for i := range len(s) {
		if !in(i, s[i]) {
			return i
		}
	}
	return len(s)
}
