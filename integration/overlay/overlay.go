// Package overlay builds programs from sources that differ from what is in the repository: with a wall clock that can be moved, or
// with a bug that was planted on purpose. The sources stay as they are; the go command is given other contents for some files
// (go build -overlay). Nothing of this can get into a program that is built otherwise.
package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Edit replaces Old by New in a file. Old must be there exactly once, so that an edit whose place has changed fails instead of
// building the program as it is.
type Edit struct {
	// File is relative to the repository, or to Go's own sources if it begins with "go:".
	File     string
	Old, New string
}

// Target is what to build.
type Target struct {
	// Root is the repository's folder.
	Root string
	// Package is relative to Root.
	Package string
	// Output is the program.
	Output string
	// Race builds it with the race detector.
	Race bool
}

// Build builds the target with the edits.
func Build(ctx context.Context, target Target, edits ...Edit) error {
	scratch, err := os.MkdirTemp("", "onlyonce-overlay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	replace, err := write(ctx, target.Root, scratch, edits)
	if err != nil {
		return err
	}
	list := filepath.Join(scratch, "overlay.json")
	encoded, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	if err := os.WriteFile(list, encoded, 0o600); err != nil {
		return err
	}
	output, err := filepath.Abs(target.Output)
	if err != nil {
		return err
	}
	args := []string{"build", "-overlay", list, "-o", output}
	if target.Race {
		args = append(args, "-race")
	}
	build := exec.CommandContext(ctx, "go", append(args, "./"+filepath.ToSlash(target.Package))...)
	build.Dir = target.Root
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("overlay: go build %s: %w\n%s", target.Package, err, said)
	}
	return nil
}

// write puts the edited files into scratch, and returns what each stands for.
func write(ctx context.Context, root, scratch string, edits []Edit) (map[string]string, error) {
	replace := map[string]string{}
	for _, edit := range edits {
		original, err := locate(ctx, root, edit.File)
		if err != nil {
			return nil, err
		}
		source := original
		if already, ok := replace[original]; ok {
			source = already
		}
		content, err := os.ReadFile(source)
		if err != nil {
			return nil, fmt.Errorf("overlay: %w", err)
		}
		if n := strings.Count(string(content), edit.Old); n != 1 {
			return nil, fmt.Errorf("overlay: %s has %d times what is to be replaced, instead of once; bring the edit up to date:\n%s", edit.File, n, edit.Old)
		}
		edited := filepath.Join(scratch, fmt.Sprintf("%d.go", len(replace)))
		if already, ok := replace[original]; ok {
			edited = already
		}
		if err := os.WriteFile(edited, []byte(strings.Replace(string(content), edit.Old, edit.New, 1)), 0o600); err != nil {
			return nil, err
		}
		replace[original] = edited
	}
	return replace, nil
}

func locate(ctx context.Context, root, file string) (string, error) {
	if inGo, ok := strings.CutPrefix(file, "go:"); ok {
		goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if err != nil {
			return "", fmt.Errorf("overlay: go env GOROOT: %w", err)
		}
		return filepath.Join(strings.TrimSpace(string(goroot)), "src", filepath.FromSlash(inGo)), nil
	}
	return filepath.Abs(filepath.Join(root, filepath.FromSlash(file)))
}
