package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Write rewrites the page docs/performance.md between its marks, <!-- bench:name --> and <!-- /bench:name -->, where a part of that
// name is new, and draws its charts. Parts of earlier runs stay as they were, but for the column of safety and the goals, which
// are made of all that there is. Prose around the marks is nobody's business but its author's.
func Write(docs string, fresh Results, order []string) error {
	page, folder := filepath.Join(docs, "performance.md"), filepath.Join(docs, "performance")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	kept := filepath.Join(folder, "results.json")
	results, err := Load(kept)
	if err != nil {
		return err
	}
	for name, part := range fresh {
		results[name] = part
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	updated := string(text)
	for _, name := range order {
		part, measured := results[name]
		if !measured {
			continue
		}
		if updated, err = replace(updated, name, results.section(part)); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
		for _, chart := range part.Charts {
			if err := os.WriteFile(filepath.Join(folder, chart.File), []byte(chart.SVG()), 0o644); err != nil {
				return err
			}
		}
	}
	if goals := results.goals(order); len(goals) > 0 {
		if updated, err = replace(updated, "goals", goalTable(goals).Markdown()); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	if err := results.Save(kept); err != nil {
		return err
	}
	return os.WriteFile(page, []byte(updated), 0o644)
}

// section is a part in Markdown.
func (r Results) section(part Part) string {
	var blocks []string
	for _, chart := range part.Charts {
		blocks = append(blocks, fmt.Sprintf("![%s](performance/%s)\n", chart.Title, chart.File))
	}
	for _, t := range part.Tables {
		blocks = append(blocks, r.joined(t).Markdown())
	}
	for _, note := range part.Notes {
		blocks = append(blocks, note+"\n")
	}
	blocks = append(blocks, "<sub>"+part.Run.Text()+"</sub>\n")
	return strings.Join(blocks, "\n")
}

// replace puts content between the marks of name.
func replace(page, name, content string) (string, error) {
	begin, end := "<!-- bench:"+name+" -->", "<!-- /bench:"+name+" -->"
	before, rest, found := strings.Cut(page, begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", fmt.Errorf("the marks %s and %s are not there: put them where the figures belong", begin, end)
	}
	return before + begin + "\n" + content + end + after, nil
}
