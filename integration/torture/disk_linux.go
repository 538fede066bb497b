package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// disk is a small file system of our own, in memory, with the tables that grow on it. It is filled by making it as small as what is
// on it, so that this costs no memory. The write-ahead log is elsewhere: what fails is a statement, never the database.
type disk struct {
	folder string
	size   int64
	guard  *exec.Cmd
	pipe   io.Closer
}

// A run of a minute writes some dozens of megabytes.
const (
	diskFloor     = 256 << 20
	diskPerMinute = 256 << 20
)

// unmountScript takes the file system away when the pipe closes: when it is told to, or when we are gone.
const unmountScript = `
trap '' INT TERM HUP QUIT
while read -r _; do :; done
umount -l "$1" && rmdir "$1"
`

// openDisk mounts it and moves the tables there.
func openDisk(ctx context.Context, b *base, duration time.Duration) (*disk, error) {
	if b.cluster == nil {
		return nil, errNotOurs
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can mount a file system")
	}
	owner, err := os.Stat(b.cluster.DataDir())
	if err != nil {
		return nil, err
	}
	as := owner.Sys().(*syscall.Stat_t)
	folder, err := os.MkdirTemp("/tmp", "onlyonce-disk-")
	if err != nil {
		return nil, err
	}
	d := &disk{folder: folder, size: diskFloor + int64(duration.Minutes()*diskPerMinute)}
	if err := syscall.Mount("onlyonce", folder, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", d.size, as.Uid, as.Gid)); err != nil {
		return nil, errors.Join(fmt.Errorf("no file system can be mounted: %w", err), os.Remove(folder))
	}
	d.guard = exec.Command("/bin/sh", "-c", unmountScript, "unmount", folder)
	d.guard.Dir = "/"
	d.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if d.pipe, err = d.guard.StdinPipe(); err == nil {
		err = d.guard.Start()
	}
	if err != nil {
		return nil, errors.Join(err, syscall.Unmount(folder, syscall.MNT_DETACH), os.Remove(folder))
	}
	statements := []string{"CREATE TABLESPACE torture LOCATION '" + strings.ReplaceAll(folder, "'", "''") + "'"}
	for _, table := range []string{"payments", "entries", "steps", "idempotency_keys"} {
		// A page takes few rows, so that nobody gets far without a new one.
		statements = append(statements, "ALTER TABLE "+table+" SET TABLESPACE torture", "ALTER TABLE "+table+" SET (fillfactor = 10)")
	}
	for _, statement := range statements {
		if _, err := b.pool.Exec(ctx, statement); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

// fill leaves no room, and free all of it.
func (d *disk) fill() error {
	var now syscall.Statfs_t
	if err := syscall.Statfs(d.folder, &now); err != nil {
		return err
	}
	return d.resize(int64(now.Blocks-now.Bfree) * now.Bsize)
}

func (d *disk) free() error { return d.resize(d.size) }

func (d *disk) resize(size int64) error {
	// In whole pages, which it is in already; 0 would be no limit at all.
	return syscall.Mount("onlyonce", d.folder, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", max(size, 1<<12)))
}

func (d *disk) close() error {
	_ = d.pipe.Close()
	if err := d.guard.Wait(); err != nil {
		return fmt.Errorf("torture: the file system %s stays behind: umount it: %w", d.folder, err)
	}
	return nil
}
