package pgstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// The values of the store's own statements in PostgreSQL's binary format. An argument is valid until the round trip has
// been made.

// args returns the arguments of a statement.
func (w *wire) args(values ...[]byte) [][]byte {
	at := len(w.arguments)
	w.arguments = append(w.arguments, values...)
	return w.arguments[at:len(w.arguments):len(w.arguments)]
}

func (w *wire) text(s string) []byte {
	at := len(w.values)
	w.values = append(w.values, s...)
	return w.values[at:len(w.values):len(w.values)]
}

func (w *wire) int2(n int) []byte {
	at := len(w.values)
	w.values = binary.BigEndian.AppendUint16(w.values, uint16(n))
	return w.values[at:len(w.values):len(w.values)]
}

func (w *wire) int4(n uint32) []byte {
	at := len(w.values)
	w.values = binary.BigEndian.AppendUint32(w.values, n)
	return w.values[at:len(w.values):len(w.values)]
}

func (w *wire) int8(n int64) []byte {
	at := len(w.values)
	w.values = binary.BigEndian.AppendUint64(w.values, uint64(n))
	return w.values[at:len(w.values):len(w.values)]
}

func (w *wire) time(t time.Time) []byte { return w.int8(t.Sub(keytable.Epoch).Microseconds()) }

// interval is in microseconds, without days and months.
func (w *wire) interval(d time.Duration) []byte {
	at := len(w.values)
	w.values = append(binary.BigEndian.AppendUint64(w.values, uint64(d.Microseconds())), 0, 0, 0, 0, 0, 0, 0, 0)
	return w.values[at:len(w.values):len(w.values)]
}

// columns reads a row, column by column. A value of another size than its type has ends it with an error.
type columns struct {
	values [][]byte
	err    error
}

func (c *columns) next(size int) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.values) == 0 {
		c.err = errors.New("pgstore: the server sent a row with too few columns")
		return nil
	}
	value := c.values[0]
	c.values = c.values[1:]
	if size > 0 && value != nil && len(value) != size {
		c.err = fmt.Errorf("pgstore: the server sent a value of %d bytes where %d are expected", len(value), size)
		return nil
	}
	return value
}

// end returns what went wrong, if only that there are more columns than were read.
func (c *columns) end() error {
	if c.err == nil && len(c.values) > 0 {
		return errors.New("pgstore: the server sent a row with too many columns")
	}
	return c.err
}

func (c *columns) bool() bool {
	value := c.next(1)
	return value != nil && value[0] != 0
}

func (c *columns) uint32() uint32 {
	if value := c.next(4); value != nil {
		return binary.BigEndian.Uint32(value)
	}
	return 0
}

// time reads a timestamptz that is neither NULL nor infinite.
func (c *columns) time() time.Time {
	if value := c.next(8); value != nil {
		return keytable.Epoch.Add(time.Duration(int64(binary.BigEndian.Uint64(value))) * time.Microsecond)
	}
	return time.Time{}
}

// moment is time in microseconds since the epoch; NULL is never.
func (c *columns) moment() int64 {
	if value := c.next(8); value != nil {
		return int64(binary.BigEndian.Uint64(value))
	}
	return keytable.Never
}

func (c *columns) int2() *int {
	value := c.next(2)
	if value == nil {
		return nil
	}
	n := int(int16(binary.BigEndian.Uint16(value)))
	return &n
}

// bytes returns a copy, since a value is valid until the next message alone; NULL is nil.
func (c *columns) bytes() []byte {
	value := c.next(0)
	if value == nil {
		return nil
	}
	return append(make([]byte, 0, len(value)), value...)
}
