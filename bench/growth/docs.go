package growth

import (
	"fmt"
	"os"
	"strings"
)

// What a run writes into a document stands between these lines.
const (
	begin = "<!-- bench:growth -->\n"
	end   = "<!-- /bench:growth -->\n"
)

// WriteInto replaces what stands in a document between two marks.
func (r Report) WriteInto(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, begun := strings.Cut(string(content), begin)
	_, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		return fmt.Errorf("%s lacks the lines %s and %s: the tables go between them", file, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(file, []byte(before+begin+r.Markdown()+end+after), 0o644)
}
