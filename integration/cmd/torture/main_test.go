package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/integration/history"
)

func in(environment map[string]string) func(string) string {
	return func(name string) string { return environment[name] }
}

func TestTheEnvironmentSetsWhatFlagsDoNot(t *testing.T) {
	t.Parallel()
	asked, _, ok := parse(nil, in(map[string]string{"DURATION": "90s", "SEED": "7", "FAULTS": "kill, stop"}), os.Stderr)
	require.True(t, ok)
	assert.Equal(t, 90*time.Second, asked.config.Duration)
	assert.Equal(t, uint64(7), asked.config.Seed)
	assert.Equal(t, []string{"kill", "stop"}, asked.config.Faults)

	asked, _, ok = parse([]string{"-duration", "5s", "-seed", "8", "-faults", "none"}, in(map[string]string{"DURATION": "90s", "SEED": "7", "FAULTS": "kill"}), os.Stderr)
	require.True(t, ok)
	assert.Equal(t, 5*time.Second, asked.config.Duration)
	assert.Equal(t, uint64(8), asked.config.Seed)
	assert.Empty(t, asked.config.Faults)
	assert.NotNil(t, asked.config.Faults, "none, instead of all")

	asked, _, ok = parse(nil, in(nil), os.Stderr)
	require.True(t, ok)
	assert.Equal(t, 2*time.Minute, asked.config.Duration)
	assert.Nil(t, asked.config.Faults, "all")
}

// output is a file to print into, and what was printed.
func output(t *testing.T) (*os.File, func() string) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	return file, func() string {
		content, err := os.ReadFile(file.Name())
		require.NoError(t, err)
		return string(content)
	}
}

func TestWhatCannotBeUnderstoodIsSaidAndNothingIsStarted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args        []string
		environment map[string]string
		says        string
	}{
		{nil, map[string]string{"DURATION": "long"}, "DURATION"},
		{nil, map[string]string{"DURATION": "-3s"}, "DURATION"},
		{nil, map[string]string{"SEED": "x"}, "SEED"},
		{[]string{"-faults", "flood", "-server", "x"}, nil, `no fault "flood"`},
		{[]string{"surplus"}, nil, "surplus"},
		{[]string{"-nonsense"}, nil, "nonsense"},
		{[]string{"-check", "no-such-file"}, nil, "no-such-file"},
		{[]string{"-root", "/no/such/folder"}, nil, "overlay"},
	} {
		out, _ := output(t)
		complaints, said := output(t)
		assert.Equal(t, exitFailed, run(c.args, in(c.environment), out, complaints), c)
		assert.Contains(t, said(), c.says)
	}
}

func TestItTeachesItsUseAndListsItsFaults(t *testing.T) {
	t.Parallel()
	out, printed := output(t)
	help, said := output(t)
	assert.Equal(t, exitClean, run([]string{"-h"}, in(nil), out, help))
	for _, part := range []string{"SEED", "does not repeat", "Exit code", "-faults", "-unprotected"} {
		assert.Contains(t, said(), part)
	}
	assert.Equal(t, exitClean, run([]string{"-faults", "list"}, in(nil), out, help))
	for _, name := range []string{"kill", "stop", "terminate", "backend", "restart", "cut-before-commit", "cut-after-commit", "late-commit", "delay", "reset", "half-close", "disk-full", "clock", "vanish"} {
		assert.Contains(t, printed(), name)
	}
}

func TestAKeptHistoryIsJudgedAgain(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]int{"clean": exitClean, "lost": exitConvicted} {
		a := history.Attempt{ID: "1", Key: "k", Kind: history.Payment, Amount: 1, Start: 1, End: 2}
		if name == "lost" {
			a.Answered, a.Status, a.Payment = true, 201, 1
		}
		var kept bytes.Buffer
		log := history.NewLog(&kept)
		log.Attempt(a)
		require.NoError(t, log.Close(history.History{Run: history.Run{FaultsEnded: time.Hour}}))
		file := filepath.Join(t.TempDir(), "history.jsonl")
		require.NoError(t, os.WriteFile(file, kept.Bytes(), 0o600))
		out, printed := output(t)
		assert.Equal(t, code, run([]string{"-check", file}, in(nil), out, out), name)
		assert.NotEmpty(t, strings.TrimSpace(printed()))
	}
}
