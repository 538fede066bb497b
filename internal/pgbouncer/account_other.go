//go:build !unix

package pgbouncer

import (
	"os/exec"
	"testing"
)

func unprivileged(testing.TB, *exec.Cmd) {}
