package keytable

const (
	// CitusSQL finds Citus's catalog, if there is one.
	CitusSQL = `SELECT to_regclass('pg_dist_partition') IS NOT NULL`

	// undistributedSQL reports whether other tables are distributed and the keys' is not: it is a row of no shard (by hash or range), of no
	// schema's shard (a group of colocated tables), and not on every node (a reference table, repmodel t).
	undistributedSQL = `SELECT EXISTS (SELECT FROM pg_dist_partition WHERE partmethod <> 'n')
	AND NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = {literal}::regclass AND (partmethod <> 'n' OR repmodel = 't' OR colocationid > 0))`
)
