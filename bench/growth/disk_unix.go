//go:build linux || darwin

package growth

import "syscall"

// free is how many bytes are free in the file system of folder, where this machine has it.
func free(folder string) (int64, bool) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(folder, &stat); err != nil {
		return 0, false
	}
	return int64(stat.Bavail) * int64(stat.Bsize), true
}
