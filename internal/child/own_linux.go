package child

import (
	"os/exec"
	"syscall"
)

// Own has the process of cmd, which is about to be started, end with this one, however that ends, and not by a Ctrl-C of its own.
func Own(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
