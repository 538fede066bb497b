package growth

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Server is what the figures depend on.
type Server struct {
	Version, SharedBuffers, WALCompression, MaxWALSize, CheckpointTimeout, Fsync string
	// DataDirectory is empty where the user may not know it.
	DataDirectory string
	CPUs          int
}

func serverOf(ctx context.Context, pool *pgxpool.Pool) (s Server, err error) {
	s.CPUs = runtime.NumCPU()
	err = pool.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('shared_buffers'), current_setting('wal_compression'),
		current_setting('max_wal_size'), current_setting('checkpoint_timeout'), current_setting('fsync')`).
		Scan(&s.Version, &s.SharedBuffers, &s.WALCompression, &s.MaxWALSize, &s.CheckpointTimeout, &s.Fsync)
	if err != nil {
		return s, fmt.Errorf("reach the database that DATABASE_URL names: %w", err)
	}
	_ = pool.QueryRow(ctx, `SELECT current_setting('data_directory')`).Scan(&s.DataDirectory)
	return s, nil
}

func (s Server) String() string {
	version, _, _ := strings.Cut(s.Version, " ")
	return fmt.Sprintf("PostgreSQL %s, shared_buffers %s, wal_compression %s, max_wal_size %s, checkpoint_timeout %s, fsync %s; clients and server on %d cores",
		version, s.SharedBuffers, s.WALCompression, s.MaxWALSize, s.CheckpointTimeout, s.Fsync, s.CPUs)
}
