-- +goose Up
-- Distributed by scope, which the primary key begins with, so that a request touches one shard. The tables of the handlers must be in the
-- same colocation group: ONLYONCE_CITUS_COLOCATE_WITH names one of them, whose distribution column is text COLLATE "C", as scope
-- is; by default the keys go where Citus puts all tables of that kind. A table that is distributed already is left as it is.
-- +goose ENVSUB ON
SELECT create_distributed_table('idempotency_keys', 'scope', colocate_with => '${ONLYONCE_CITUS_COLOCATE_WITH:-default}')
WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'idempotency_keys'::regclass AND partmethod = 'h');
-- +goose ENVSUB OFF

-- +goose Down
SELECT undistribute_table('idempotency_keys');
