package line

import (
	"runtime"
	"syscall"
	"time"
)

const prSetTimerSlack = 29

// punctual keeps the calling goroutine on a thread that the kernel wakes to the microsecond; others are woken 50 µs late.
func punctual() {
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0)
}

// wait asks the kernel itself: the runtime's timers have the unit of epoll_wait, a millisecond, where nothing else happens.
func wait(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		request := syscall.NsecToTimespec(int64(left))
		_ = syscall.Nanosleep(&request, nil) // a signal ends it early
	}
}
