package wireproxy

import (
	"syscall"
	"time"
)

// sleep asks the kernel itself. The runtime's timers are of no use below a millisecond: an idle thread sleeps in epoll_wait,
// whose unit that is. A signal ends it early.
func sleep(d time.Duration) {
	request := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&request, nil)
}
