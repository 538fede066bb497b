package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/bench/child"
	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/trial"
	"github.com/onlyonce/onlyonce/internal/pgtest"
)

func TestMain(m *testing.M) {
	child.Run(trial.Roles) // the benchmark runs itself again
	m.Run()
}

// What is on this machine runs, and says so; the figures of so short a run are not looked at, but for those that are no matter of time.
func TestEverythingRunsAndNothingIsLeftBehind(t *testing.T) {
	url := pgtest.URL(t)
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("REDIS_URL") == "" {
		t.Log("the contenders on Redis are not run: there is no redis-server on this machine")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out, progress bytes.Buffer
	code := run(ctx, []string{"-quick", "-length", "30ms", "-seed", "7"}, environment(url), &out, &progress)
	if code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", code, out.String(), progress.String())
	}
	t.Log(out.String())
	for _, expected := range append(names(), "QUICK", "seed 7", "Fresh keys, loopback", "Replays (plain pays), 1 ms round trip", "90 fresh keys",
		"SIGKILLs", "Herd of 100 over 2 processes", "Round trips", "write-ahead log", "recovery points") {
		if !strings.Contains(out.String(), expected) {
			t.Errorf("nothing is said of %q", expected)
		}
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "3 SIGKILLs of the server: paid twice") && strings.Contains(line, "not reached") {
			t.Errorf("this library: %s", line)
		}
	}
	nothingIsLeft(t, url)
}

func TestWithoutRedisItsContendersSayWhyTheyDidNotRun(t *testing.T) {
	url := pgtest.URL(t)
	t.Setenv("PATH", t.TempDir()) // no redis-server
	var out, progress bytes.Buffer
	code := run(t.Context(), []string{"-quick", "-length", "10ms", "-only", "replay", "-contenders", "onlyonce,fiber-redis"}, environment(url, "REDIS_URL="), &out, &progress)
	if code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", code, out.String(), progress.String())
	}
	if !strings.Contains(out.String(), "not run: no redis-server on this machine") {
		t.Errorf("not told:\n%s", out.String())
	}
}

func TestAnInterruptedRunTakesAwayWhatItMadeAndTouchesNoPage(t *testing.T) {
	url := pgtest.URL(t)
	docs := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	progress := &interrupter{at: "fresh", interrupt: interrupt}
	var out bytes.Buffer
	code := run(ctx, []string{"-only", "fresh", "-length", "50ms", "-docs", docs, "-contenders", "onlyonce,dbos"}, environment(url), &out, progress)
	if code != 1 || !strings.Contains(progress.String(), "interrupted") {
		t.Fatalf("exit code %d\n%s", code, progress.String())
	}
	if left, err := filepath.Glob(filepath.Join(docs, "*")); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	nothingIsLeft(t, url)
}

func nothingIsLeft(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var left int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'onlyonce\_bench\_%'`).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left > 0 {
		t.Errorf("%d schemas are left behind", left)
	}
}

// interrupter ends a run when its progress says a word.
type interrupter struct {
	bytes.Buffer
	at        string
	interrupt func()
}

func (i *interrupter) Write(b []byte) (int, error) {
	if strings.Contains(string(b), i.at) {
		i.interrupt()
	}
	return i.Buffer.Write(b)
}

func TestTheCommandLineIsChecked(t *testing.T) {
	for _, args := range []string{"-only nonsense", "-contenders nobody", "-rounds 0", "-kills 0", "-length 1ms", "surplus", "-unknown"} {
		var out bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), os.Getenv, &out, &out); code != 2 {
			t.Errorf("%s: exit code %d", args, code)
		}
	}
}

func TestHelpNamesEveryPartAndContender(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, os.Getenv, &out, &out); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, name := range append(parts(), names()...) {
		if !strings.Contains(out.String(), name) {
			t.Errorf("%s is not explained", name)
		}
	}
}

func TestAQuickRunWritesNoPage(t *testing.T) {
	o, err := parse([]string{"-docs", "docs", "-quick", "-kills", "5"}, &bytes.Buffer{})
	if err != nil || o.docs != "" || o.kills != 5 || o.rounds != 1 {
		t.Fatalf("%+v %v", o, err)
	}
}

func TestContendersHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range contender.Kinds {
		if seen[kind.Name] {
			t.Errorf("two are called %s", kind.Name)
		}
		seen[kind.Name] = true
	}
	if contender.Kinds[0].Name != contender.Baseline {
		t.Error("the baseline is not the first")
	}
}

// environment is the process's, with changes.
func environment(url string, changes ...string) func(string) string {
	return func(name string) string {
		if name == "DATABASE_URL" {
			return url
		}
		for _, change := range changes {
			if changed, value, _ := strings.Cut(change, "="); changed == name {
				return value
			}
		}
		return os.Getenv(name)
	}
}
