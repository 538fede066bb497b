package main

import (
	"fmt"
	"slices"
	"strings"
)

const module = "github.com/onlyonce/onlyonce"

// selection is some of a package's tests, as go test's -run and -skip select them. An empty run is all of them.
type selection struct {
	pkg, run, skip string
}

// column is what one column of the grid counts. Short ones are the smallest selection.
type column struct {
	name  string
	short bool
	tests []selection
}

const (
	pgstore = module + "/pgstore"
	stack   = module + "/integration/stack"
	gateway = module + "/gateway"

	pooled   = "BehindPgBouncer"
	failover = "Failover|Standby|Primary"
	contract = "^TestTheContractInMemoryAndOnPostgres$/^on_Postgres"
	conforms = "^TestStoreConforms$/^%s$"
)

// columns say which test is in which column. A test of the packages that touch PostgreSQL is in one column, and in no other.
var columns = []column{
	{name: "cache_statement", tests: []selection{{pgstore, mode("cache_statement"), ""}}},
	{name: "cache_describe", tests: []selection{{pgstore, mode("cache_describe"), ""}}},
	{name: "describe_exec", tests: []selection{{pgstore, mode("describe_exec"), ""}}},
	{name: "exec", short: true, tests: []selection{{pgstore, mode("exec"), ""}}},
	{name: "simple_protocol", tests: []selection{{pgstore, mode("simple_protocol"), ""}}},
	{name: "repeatable_read", tests: []selection{{pgstore, mode("repeatable_read"), ""}}},
	{name: "serializable", tests: []selection{{pgstore, mode("serializable"), ""}}},
	{name: "pgbouncer", tests: []selection{{pgstore, pooled, ""}, {stack, pooled, ""}}},
	{name: "locks", tests: []selection{{pgstore, "^TestStoreConforms(WithEveryLock|OnCitus)$", ""}}},
	{name: "database_sql", tests: []selection{{module + "/sqlstore", "", ""}, {module + "/integration/libpq", "", ""}}},
	{name: "faults", tests: []selection{{pgstore, "", "^TestStoreConforms"}, {stack, "", pooled + "|" + failover}}},
	{name: "failover", tests: []selection{{stack, failover, ""}}},
	{name: "http", tests: []selection{
		{module + "/nethttp", contract, ""}, {module + "/echo", contract, ""}, {module + "/echov5", contract, ""},
		{module + "/gin", "^(TestTheContractInMemoryAndOnPostgres|TestWhatFailsByGinsMeansIsRolledBack)$/^on_Postgres$", ""},
		{module + "/fiber", contract, ""}, {module + "/fiberv2", contract, ""},
	}},
	{name: "gateway_service", tests: []selection{
		{gateway + "/backend", "", ""}, {gateway + "/client", "", ""}, {gateway + "/migrate", "", ""}, {gateway + "/service", "", ""}, {gateway + "/cmd/onlyonced", "", ""},
	}},
	{name: "gateway_proxy", tests: []selection{
		{gateway + "/leased", "", ""}, {gateway + "/proxy", "", ""}, {gateway + "/cmd/onlyonce-proxy", "", ""}, {module + "/integration/gateway", "", ""},
	}},
	{name: "gateway_kong", tests: []selection{{gateway + "/kong", "", ""}}},
	{name: "migrations", short: true, tests: []selection{{module + "/integration", "", asksNobody}}},
	{name: "functions", tests: []selection{{module + "/integration/protocol", "", ""}}},
	{name: "clib", tests: []selection{{module + "/clib/suite", "", ""}}},
	{name: "example", tests: []selection{{module + "/examples/payments/server", "", ""}, {module + "/examples/payments/cmd/payments", "", ""}}},
}

// asksNobody are those tests of the integration module's own package that need no database.
const asksNobody = "README|Guarantees|Routers"

// mode is how the conformance suite names a run: pgx calls a mode by words with spaces, and go test writes those as underscores.
func mode(name string) string { return fmt.Sprintf(conforms, name) }

// chosen are the columns that names, with commas between them, names; all if it is empty.
func chosen(names string, short bool) ([]column, error) {
	if names == "" {
		if !short {
			return columns, nil
		}
		return slices.DeleteFunc(slices.Clone(columns), func(c column) bool { return !c.short }), nil
	}
	var found []column
	for name := range strings.SplitSeq(names, ",") {
		at := slices.IndexFunc(columns, func(c column) bool { return c.name == strings.TrimSpace(name) })
		if at < 0 {
			return nil, fmt.Errorf("no column %q: there are %s", name, strings.Join(columnNames(), ", "))
		}
		found = append(found, columns[at])
	}
	return found, nil
}

func columnNames() []string {
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	return names
}

// packages are those of the columns, each once.
func packages(of []column) []string {
	var found []string
	for _, c := range of {
		for _, s := range c.tests {
			if !slices.Contains(found, s.pkg) {
				found = append(found, s.pkg)
			}
		}
	}
	return found
}
