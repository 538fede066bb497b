package opened

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// config is what oo_open is told, with its defaults. See onlyonce.h.
type config struct {
	dsn, schema                                 string
	lease, timeout, settle, retention, remember time.Duration
	connections                                 int32
	pooler                                      bool
}

// A number stands between 1 and most; its unit is a duration for those that are times.
type number struct {
	unit  time.Duration
	usual int64
	most  int64
}

const year = 366 * 24 * 60 * 60

var numbers = map[string]number{
	"lease_ms":          {time.Millisecond, 30_000, 24 * 60 * 60 * 1000},
	"timeout_ms":        {time.Millisecond, 5_000, 10 * 60 * 1000},
	"settle_timeout_ms": {time.Millisecond, 10_000, 10 * 60 * 1000},
	"retention_s":       {time.Second, 24 * 60 * 60, 10 * year},
	"remember_s":        {time.Second, 24 * 60 * 60, 10 * year},
	"max_connections":   {1, 8, 10_000},
}

var members = []string{"dsn", "schema", "lease_ms", "timeout_ms", "settle_timeout_ms", "retention_s", "remember_s", "max_connections", "pooler"}

// parse reads a configuration. Its errors repeat nothing but names of members: a value may be a password.
func parse(text []byte) (c config, err error) {
	found, err := object(text)
	if err != nil {
		return c, err
	}
	if err := words(found, "dsn", &c.dsn); err != nil {
		return c, err
	}
	if c.dsn == "" {
		return c, errors.New("dsn is missing: give the database's URL, postgres://user@host:5432/database")
	}
	if err := words(found, "schema", &c.schema); err != nil {
		return c, err
	}
	values := map[string]int64{}
	for name, n := range numbers {
		values[name] = n.usual
		if raw, there := found[name]; there {
			value, err := strconv.ParseInt(string(raw), 10, 64)
			if err != nil || value < 1 || value > n.most {
				return c, fmt.Errorf("%s must be a whole number from 1 to %d", name, n.most)
			}
			values[name] = value
		}
	}
	span := func(name string) time.Duration { return time.Duration(values[name]) * numbers[name].unit }
	c.lease, c.timeout, c.settle = span("lease_ms"), span("timeout_ms"), span("settle_timeout_ms")
	c.retention, c.remember = span("retention_s"), span("remember_s")
	c.connections = int32(values["max_connections"])
	switch raw := found["pooler"]; string(raw) {
	case "", "false":
	case "true":
		c.pooler = true
	default:
		return c, errors.New("pooler must be true or false")
	}
	return c, nil
}

func words(found map[string]json.RawMessage, name string, into *string) error {
	raw, there := found[name]
	if !there {
		return nil
	}
	var text *string
	if json.Unmarshal(raw, &text) != nil || text == nil || strings.ContainsRune(*text, utf8.RuneError) || strings.ContainsRune(*text, 0) {
		return fmt.Errorf("%s must be a string without NUL", name)
	}
	*into = *text
	return nil
}

// object reads one JSON object. encoding/json alone would take a name in another case for a known one, and the last one of two.
func object(text []byte) (map[string]json.RawMessage, error) {
	wrong := errors.New(`the configuration must be one JSON object: {"dsn": "postgres://user@host:5432/database"}`)
	decoder := json.NewDecoder(bytes.NewReader(text))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') || !utf8.Valid(text) {
		return nil, wrong
	}
	found := map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, wrong
		}
		if !slices.Contains(members, name) {
			return nil, errors.New("a member is not known; known are " + strings.Join(members, ", "))
		}
		if _, twice := found[name]; twice {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return nil, wrong
		}
		found[name] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, wrong
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, wrong
	}
	return found, nil
}
