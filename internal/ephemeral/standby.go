package ephemeral

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// StandbyOptions of a standby. Only Name is required.
type StandbyOptions struct {
	// Name is the application_name under which it asks the primary for its log: the one for synchronous_standby_names, made of
	// lower-case letters, digits and underscores.
	Name string
	// Primary is the host:port at which it finds the primary. Empty: the primary's own. A test that wants to cut the line between
	// the two names what it has put there.
	Primary string
	// Parent is the folder in which the standby's own folder is made, as in [Options].
	Parent string
	// Settings are lines of postgresql.conf, after the defaults and the primary's own: they win.
	Settings map[string]string
}

// Standby makes a standby of the running cluster, and returns when it answers queries. For that the primary is stopped, copied
// and started again on its port: its sessions end. The programs that could copy a server at work are not everywhere
// where a server is.
//
// The standby is a cluster of its own, with its own end. Nothing makes the primary wait for it: set synchronous_standby_names
// there. SELECT pg_promote() at the standby makes a primary of it, which waits for nobody.
func (c *Cluster) Standby(ctx context.Context, options StandbyOptions) (*Cluster, error) {
	if options.Name == "" || strings.Trim(options.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return nil, fmt.Errorf("make a standby: its name is %q: use lower-case letters, digits and underscores", options.Name)
	}
	folder, err := makeFolder(options.Parent, c.as)
	if err != nil {
		return nil, err
	}
	guard, err := startGuard(folder)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	standby := &Cluster{binDir: c.binDir, folder: folder, as: c.as, guard: guard}
	if err := c.copyTo(ctx, standby); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	if err := standby.follow(c, options); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	if err := standby.startOnFreePort(ctx); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	return standby, nil
}

// Address is the server's host:port.
func (c *Cluster) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// copyTo copies the data while nobody changes it.
func (c *Cluster) copyTo(ctx context.Context, standby *Cluster) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.server == nil || c.server.hasExited() {
		return errors.New("make a standby: the cluster is not running: start it first")
	}
	if err := c.end(ctx, syscall.SIGINT); err != nil {
		return err
	}
	// Enough that a standby which was cut off for the length of a test finds what it missed.
	err := c.configure(map[string]string{"wal_keep_size": "512MB"})
	if err == nil {
		err = c.copyData(standby.DataDir())
	}
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // whatever became of the copy
	defer cancel()
	return errors.Join(err, c.begin(starting))
}

// follow makes a standby of what was copied.
func (c *Cluster) follow(primary *Cluster, options StandbyOptions) error {
	at := options.Primary
	if at == "" {
		at = primary.Address()
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return fmt.Errorf("make a standby: the primary's address: %w", err)
	}
	settings := map[string]string{
		"primary_conninfo": fmt.Sprintf("host=%s port=%s user=postgres application_name=%s sslmode=disable", host, port, options.Name),
		"hot_standby":      "on",
		// What it tries again after, when the line was cut. The default is 5 s.
		"wal_retrieve_retry_interval": "50ms",
		"synchronous_standby_names":   "",
	}
	maps.Copy(settings, options.Settings)
	if err := c.configure(settings); err != nil {
		return err
	}
	return c.write("standby.signal", nil, 0o600)
}

// neverCopied is what belongs to a run of the server rather than to its data.
var neverCopied = map[string]bool{"postmaster.pid": true, "postmaster.opts": true}

// emptied are folders whose files belong to a run of the server, or to one server alone.
var emptied = map[string]bool{"pg_dynshmem": true, "pg_replslot": true, "pg_stat_tmp": true}

func (c *Cluster) copyData(to string) error {
	from := os.DirFS(c.DataDir())
	return fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("copy the primary's data: %w", err)
		}
		target := filepath.Join(to, name)
		switch {
		case neverCopied[name] || emptied[filepath.Dir(name)]:
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			err = os.Mkdir(target, 0o700)
		default:
			var content []byte
			if content, err = fs.ReadFile(from, name); err == nil {
				err = os.WriteFile(target, content, 0o600)
			}
		}
		if err == nil && c.as != nil {
			err = os.Chown(target, int(c.as.uid), int(c.as.gid))
		}
		if err != nil {
			return fmt.Errorf("copy the primary's data: %w", err)
		}
		return nil
	})
}

// write writes a file into the data folder, as the server's own.
func (c *Cluster) write(name string, content []byte, mode os.FileMode) error {
	file := filepath.Join(c.DataDir(), name)
	err := os.WriteFile(file, content, mode)
	if err == nil && c.as != nil {
		err = os.Chown(file, int(c.as.uid), int(c.as.gid))
	}
	if err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	return nil
}
