package ephemeral

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/internal/freeport"
)

// Options of a cluster. The zero value suits tests.
type Options struct {
	// BinDir is the folder of initdb and postgres. Empty: [FindBinaries] looks for it.
	BinDir string
	// Parent is the folder in which the cluster's own folder is made. Empty: the system's temporary folder. As root, every
	// user must be able to traverse it.
	Parent string
	// Durable keeps fsync and full_page_writes on: for measurements that mean something. A cluster that is not durable still
	// survives the death of the server; it would not survive the death of the machine.
	Durable bool
	// Settings are lines of postgresql.conf, after the defaults: they win.
	Settings map[string]string
}

// StopMode is how [Cluster.Restart] ends the running server.
type StopMode string

const (
	// Fast ends sessions, rolls their transactions back and writes a checkpoint.
	Fast StopMode = "fast"
	// Immediate ends everything at once; the next start goes through crash recovery.
	Immediate StopMode = "immediate"
)

// Cluster is a running PostgreSQL server of our own. Its methods are safe for concurrent use.
type Cluster struct {
	binDir string
	folder string
	port   int
	as     *account
	guard  *guard

	mu      sync.Mutex
	server  *server
	stopped bool
	stopErr error
}

// Start makes a cluster and returns when it accepts connections. ctx bounds the start, not the cluster's life: that ends
// with [Cluster.Stop], or with this process. The error is [ErrNoBinaries], wrapped, where there is no server to start.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	binDir, err := FindBinaries(options.BinDir)
	if err != nil {
		return nil, err
	}
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	folder, err := makeFolder(options.Parent, as)
	if err != nil {
		return nil, err
	}
	guard, err := startGuard(folder)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	c := &Cluster{binDir: binDir, folder: folder, as: as, guard: guard}
	if err := c.initialize(ctx, options); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	if err := c.startOnFreePort(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) initialize(ctx context.Context, options Options) error {
	args := []string{
		"--pgdata=" + c.DataDir(), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
	}
	if !options.Durable {
		args = append(args, "--no-sync")
	}
	initdb := exec.CommandContext(ctx, filepath.Join(c.binDir, "initdb"), args...)
	c.prepare(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb in %s: %w\n%s", c.folder, err, out)
	}

	settings := map[string]string{
		"listen_addresses": "127.0.0.1",
		// No socket: its path has a limit of about 100 bytes, which a long temporary folder exceeds.
		"unix_socket_directories": "",
		"max_connections":         "300",
		// In the cluster's folder rather than in /dev/shm, so that a killed server leaves nothing outside it.
		"dynamic_shared_memory_type": "mmap",
	}
	if !options.Durable {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, options.Settings)
	return c.configure(settings)
}

// configure adds settings to postgresql.conf. The last line wins.
func (c *Cluster) configure(settings map[string]string) error {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&lines, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	conf, err := os.OpenFile(filepath.Join(c.DataDir(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	_, err = conf.WriteString("\n" + lines.String())
	if err := errors.Join(err, conf.Close()); err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	return nil
}

// prepare gives a PostgreSQL program the account, a folder it may read, and no PG* variable of ours.
func (c *Cluster) prepare(cmd *exec.Cmd) {
	detach(cmd, c.as)
	cmd.Dir = c.folder
	// Naming a time zone spares initdb a comparison with all that there are.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=" + c.folder}
}

func (c *Cluster) startOnFreePort(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		port, err := freeport.Find()
		if err != nil {
			return err
		}
		c.port = port
		err = c.StartAgain(ctx)
		// Between our look and the server's bind somebody else may have taken the port.
		if err == nil || attempt == 10 || !errors.Is(err, errPortTaken) {
			return err
		}
	}
}

// URL is a connection string for the superuser postgres. Empty database: postgres, which every cluster has.
func (c *Cluster) URL(database string) string {
	if database == "" {
		database = "postgres"
	}
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Host:     c.Address(),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// DataDir is the cluster's data folder. It is gone after [Cluster.Stop].
func (c *Cluster) DataDir() string { return filepath.Join(c.folder, "data") }

// PID is the process id of the server (the postmaster), 0 while none is running.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil || c.server.hasExited() {
		return 0
	}
	return c.server.pid()
}

// Restart stops the server in the given mode and starts it again on the same port. A server that is not running is only
// started.
func (c *Cluster) Restart(ctx context.Context, mode StopMode) error {
	stop := syscall.SIGINT
	switch mode {
	case Fast:
	case Immediate:
		stop = syscall.SIGQUIT
	default:
		return fmt.Errorf("restart the cluster: no mode %q: use ephemeral.Fast or ephemeral.Immediate", mode)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.end(ctx, stop); err != nil {
		return err
	}
	return c.begin(ctx)
}

// Kill sends SIGKILL to the server and returns when its process has ended. Its backends notice and follow by themselves.
// [Cluster.StartAgain] takes the port and the data again. Without a running server it does nothing.
func (c *Cluster) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c.end(ctx, syscall.SIGKILL)
}

// StartAgain starts a server that is not running, on the same port and data, and returns when it accepts connections.
// With a running server it does nothing.
func (c *Cluster) StartAgain(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begin(ctx)
}

// Stop ends the server at once and removes its folder. A second call returns what the first returned.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return c.stopErr
	}
	c.stopped = true
	// The guard does it, as it would if we were killed: one way out, used every time.
	c.stopErr = c.guard.release()
	if c.stopErr != nil {
		c.stopErr = errors.Join(c.stopErr, c.stopWithoutGuard())
	}
	if c.server != nil {
		<-c.server.exited
	}
	c.stopErr = errors.Join(c.stopErr, leftovers(c.folder))
	return c.stopErr
}

func (c *Cluster) stopWithoutGuard() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := c.end(ctx, syscall.SIGQUIT)
	if err != nil {
		err = errors.Join(err, c.end(context.Background(), syscall.SIGKILL))
	}
	return errors.Join(err, os.RemoveAll(c.folder))
}
