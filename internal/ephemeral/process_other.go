//go:build !unix

package ephemeral

import "os/exec"

// Never called: FindBinaries finds nothing here.
func detach(*exec.Cmd, *account) {}
