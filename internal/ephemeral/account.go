package ephemeral

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// account is the user that the server runs as. Nil means our own.
type account struct {
	uid, gid uint32
}

// serverAccount is nil unless we are root: initdb and postgres refuse to run as root.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &account{uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and this machine has neither a user postgres nor nobody: " +
		"create one, or run as another user")
}

// makeFolder makes the cluster's folder, owned by the account, below a parent that the account can reach: root's TMPDIR
// is often closed to everybody else.
func makeFolder(parent string, as *account) (string, error) {
	if parent == "" {
		parent = os.TempDir()
		if as != nil && !openToAll(parent) {
			parent = "/tmp"
		}
	}
	if as != nil && !openToAll(parent) {
		return "", fmt.Errorf("the server's user %d cannot reach %s: name a folder whose parents everybody may traverse", as.uid, parent)
	}
	folder, err := os.MkdirTemp(parent, "onlyonce-postgres-")
	if err != nil {
		return "", fmt.Errorf("make the cluster's folder: %w", err)
	}
	if as != nil {
		if err := os.Chown(folder, int(as.uid), int(as.gid)); err != nil {
			return "", errors.Join(fmt.Errorf("hand the cluster's folder to the server's user: %w", err), os.RemoveAll(folder))
		}
	}
	return folder, nil
}

func openToAll(folder string) bool {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return false
	}
	for {
		info, err := os.Stat(folder)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		above := filepath.Dir(folder)
		if above == folder {
			return true
		}
		folder = above
	}
}
