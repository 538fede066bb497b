package proxy

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// text is a value in which ${NAME} stands for an environment variable.
type text string

func (t *text) UnmarshalYAML(node *yaml.Node) error {
	var raw string
	if err := node.Decode(&raw); err != nil {
		return err
	}
	var expanded strings.Builder
	for {
		before, rest, found := strings.Cut(raw, "${")
		expanded.WriteString(before)
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		value, set := os.LookupEnv(name)
		if !closed || !set {
			return at(node, "${%s} is not in the environment: set it, or write the value", strings.TrimSpace(name))
		}
		expanded.WriteString(value)
		raw = after
	}
	*t = text(expanded.String())
	return nil
}

// size is a number of bytes: 1048576, 1024KiB or 1MiB.
type size int

var units = []struct {
	suffix string
	bytes  int
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

func (s *size) UnmarshalYAML(node *yaml.Node) error {
	number, bytes := node.Value, 1
	for _, unit := range units {
		if cut, found := strings.CutSuffix(number, unit.suffix); found {
			number, bytes = strings.TrimSpace(cut), unit.bytes
			break
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > (1<<31)/bytes {
		return at(node, "%q is no size: give bytes, or 64KiB, 1MiB", node.Value)
	}
	*s = size(n * bytes)
	return nil
}

func (s size) String() string {
	for i := len(units) - 1; i >= 0; i-- {
		if n := int(s) / units[i].bytes; n > 0 && int(s)%units[i].bytes == 0 {
			return strconv.Itoa(n) + units[i].suffix
		}
	}
	return strconv.Itoa(int(s))
}

// statuses are those from one to another: 409, or 5xx.
type statuses struct{ from, to int }

func (s *statuses) UnmarshalYAML(node *yaml.Node) error {
	text := strings.ToLower(node.Value)
	if class, found := strings.CutSuffix(text, "xx"); found && len(class) == 1 {
		text = class + "00"
		s.to = 99
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 200 || n > 599 {
		return at(node, "%q is no final status: give 200 to 599, or a class such as 5xx", node.Value)
	}
	s.from, s.to = n, n+s.to
	return nil
}

func (s statuses) String() string {
	if s.from != s.to {
		return strconv.Itoa(s.from/100) + "xx"
	}
	return strconv.Itoa(s.from)
}

func in(status int, list []statuses) (found, exact bool) {
	for _, s := range list {
		if s.from <= status && status <= s.to {
			found, exact = true, exact || s.from == s.to
		}
	}
	return found, exact
}

// at is an error of one line of the file.
func at(node *yaml.Node, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", node.Line) + fmt.Sprintf(format, args...)}}
}
