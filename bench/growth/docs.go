package growth

import (
	"fmt"
	"os"
	"strings"
)

// marker stands before and after what a run writes into a document.
const marker = "<!-- bench:growth -->"

// WriteInto replaces what stands in a document between two lines that are marker.
func (r Report) WriteInto(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	parts := strings.Split(string(content), marker+"\n")
	if len(parts) != 3 {
		return fmt.Errorf("%s has %d lines %s: there have to be two, and the tables go between them", file, len(parts)-1, marker)
	}
	parts[1] = r.Markdown()
	return os.WriteFile(file, []byte(strings.Join(parts, marker+"\n")), 0o644)
}
