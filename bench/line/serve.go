package line

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"time"
)

// Role is the name under which a process of its own runs Serve.
const Role = "line"

// Order says what a process of lines serves; it answers with the address of each.
type Order struct {
	Upstreams []string
	Delay     time.Duration
}

// Serve opens the lines that order, an Order in JSON, asks for. It ends with its stdin.
func Serve(order []byte) error {
	var o Order
	if err := json.Unmarshal(order, &o); err != nil {
		return err
	}
	var addresses []string
	for _, upstream := range o.Upstreams {
		l, err := Open(upstream, o.Delay)
		if err != nil {
			return err
		}
		defer l.Close()
		addresses = append(addresses, l.Addr())
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	return err
}
