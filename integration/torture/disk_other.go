//go:build !linux

package torture

import (
	"context"
	"errors"
	"time"
)

// disk is a small file system of our own: see disk_linux.go.
type disk struct{}

func openDisk(context.Context, *base, time.Duration) (*disk, error) {
	return nil, errors.New("a file system that can be filled is made on Linux only")
}

func (*disk) fill() error  { return errors.ErrUnsupported }
func (*disk) free() error  { return errors.ErrUnsupported }
func (*disk) close() error { return nil }
