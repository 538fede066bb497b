package site

import (
	"os/exec"
	"syscall"
)

// own has the server end with this process, however that ends, and not by a Ctrl-C of its own.
func own(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
