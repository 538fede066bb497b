//go:build !linux

package line

import "time"

func punctual() {}

func wait(due time.Time) { time.Sleep(time.Until(due)) }
