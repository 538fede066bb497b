//go:build unix

package child

import (
	"os/exec"
	"syscall"
)

// apart keeps Ctrl-C from the child: its parent ends it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
