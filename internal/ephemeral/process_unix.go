//go:build unix

package ephemeral

import (
	"os/exec"
	"syscall"
)

// detach puts the process in a session of its own, so that a Ctrl-C on our terminal does not reach it, and, where as is
// not nil, makes it run as that account.
func detach(cmd *exec.Cmd, as *account) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if as != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
}
