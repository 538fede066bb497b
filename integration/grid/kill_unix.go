//go:build unix

package grid

import "syscall"

func kill(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }
