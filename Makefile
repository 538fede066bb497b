SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Every module of the repository, as folders: . ./examples/payments …
MODULES := $(shell sed -nE 's/^[[:space:]]+(\.[^[:space:]]*)$$/\1/p' go.work)
PACKAGES := $(addsuffix /...,$(MODULES))

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Longer than the slowest package takes on two cores with the race detector.
TEST_TIMEOUT ?= 10m
FUZZ_TIME ?= 10s
# What make crashes runs: the crash matrix, the same behind PgBouncer, and the storm over card payments.
CRASHES ?= CardPayment
# How long make torture breaks things, what everything random is drawn from (empty: another seed each time), and which faults strike.
DURATION ?= 2m
SEED ?=
FAULTS ?= all
# Numbers of stored keys that make bench-growth measures with, such as 10k,1M,50M (empty: its own).
SIZES ?=
# How often make bench-micro measures each part.
COUNT ?= 10
# What keeps two attempts off one key, in make crashes and make torture: local, shard or insert (pgstore.Config.Lock).
LOCK ?= local
# Further arguments of the benchmark, or of go test.
ARGS ?=

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

.PHONY: demo
demo: bin/withpostgres ## serve the payments API on 127.0.0.1:8080 (LISTEN_ADDR) with a throw-away database, and print curl lines
	@go build -C examples/payments -o ../../bin/payments ./cmd/payments
	@bin/withpostgres -- bin/payments -demo

.PHONY: demo-gateway
demo-gateway: bin/withpostgres ## put two proxies in front of three upstreams that misbehave, and see what is paid how often (ARGS='-serve' stays, '-h' tells more)
	@go build -C gateway -o ../bin/onlyonce-proxy ./cmd/onlyonce-proxy
	@go build -C examples/gateway -o ../../bin/upstream ./cmd/upstream
	@go build -C examples/gateway -o ../../bin/demo-gateway ./cmd/demo
	@bin/withpostgres -- bin/demo-gateway -proxy bin/onlyonce-proxy -upstream bin/upstream $(ARGS)

.PHONY: test
test: bin/withpostgres bin/testsummary ## run every test of every module with the race detector, on a real PostgreSQL
	@bin/withpostgres -- bin/testsummary -race -timeout $(TEST_TIMEOUT) $(ARGS) $(PACKAGES)

.PHONY: test-matrix
test-matrix: bin/testmatrix ## run the tests that touch PostgreSQL on versions 14 to 18, and print a grid (ARGS='-h' tells how to get and choose them)
	@bin/testmatrix $(ARGS)

.PHONY: torture
torture: bin/torture ## break servers, connections, the database and clocks under load for DURATION (2m), by SEED and FAULTS, and check every answer
	@DURATION='$(DURATION)' SEED='$(SEED)' FAULTS='$(FAULTS)' LOCK='$(LOCK)' bin/torture $(ARGS)

.PHONY: test-locks
test-locks: bin/withpostgres bin/testsummary ## run the store's tests and the HTTP contract with every lock that is not the default
	@failed=; for lock in shard insert; do \
		echo "lock: $$lock"; \
		ONLYONCE_LOCK=$$lock bin/withpostgres -- bin/testsummary -race -timeout $(TEST_TIMEOUT) $(ARGS) ./pgstore ./nethttp ./echo || failed="$$failed $$lock"; \
	done; if [ -n "$$failed" ]; then echo "failed with:$$failed"; exit 1; fi

.PHONY: mutants
mutants: bin/mutants ## plant bugs into the servers, one at a time, and see each convicted by the torture's checker: ten minutes
	@bin/mutants $(ARGS)

.PHONY: crashes
crashes: bin/withpostgres ## kill and stop servers at every statement of a card payment and inside the provider, and in a storm: minutes, with progress
	@go test -c -race -o bin/crashes ./integration/stack
	@cd integration/stack && ONLYONCE_CRASHES=all ONLYONCE_LOCK='$(LOCK)' ../../bin/withpostgres -- ../../bin/crashes -test.timeout 30m -test.parallel 4 -test.run '$(CRASHES)' $(ARGS)

.PHONY: bench
bench: bin/withpostgres ## compare with plain pgx and with what else people use, and write docs/performance.md: 40 minutes (ARGS='-quick': two; '-h' tells more)
	@go build -o bin/bench ./bench
	@bin/withpostgres -durable -- bin/bench -docs docs $(ARGS)
	@$(if $(strip $(ARGS)),true,$(MAKE) --no-print-directory bench-gateway ARGS='-docs docs/gateway.md')
	@$(if $(strip $(ARGS)),true,$(MAKE) --no-print-directory bench-growth ARGS='-docs docs/performance.md')
	@$(if $(strip $(ARGS)),true,$(MAKE) --no-print-directory bench-clib)

.PHONY: bench-clib
bench-clib: bin/withpostgres ## compare a call of the C library with the same statements by plain libpq: two minutes
	@bin/withpostgres -- go run ./clib/bench $(ARGS)

.PHONY: bench-gateway
bench-gateway: bin/withpostgres ## measure what the proxy costs above a bare reverse proxy: two minutes (ARGS='-h')
	@go build -o bin/gateways ./bench/gateways
	@bin/withpostgres -durable -- bin/gateways $(ARGS)

.PHONY: bench-growth
bench-growth: bin/withpostgres ## measure what a table of SIZES stored keys costs (10k,1M,10M; ten minutes), a week of keys, the reaper beside payments (ARGS='-h')
	@go build -o bin/growth ./bench/growth/cmd/growth
	@bin/withpostgres -durable -- bin/growth -sizes '$(SIZES)' $(ARGS)

# What has benchmarks or budgets of its parts. None of them needs a database, but for pgstore's BenchmarkLocks.
MICRO := ./idempotency ./internal/httpidem ./nethttp ./pgstore ./replaycache ./bench/replays

.PHONY: bench-micro
bench-micro: ## measure the parts (parser, fingerprint, recorder, middleware …) COUNT (10) times, for benchstat
	@go test -run - -bench . -benchmem -skip BenchmarkLocks -count $(COUNT) -timeout 1h $(ARGS) $(MICRO)

.PHONY: allocations
allocations: ## hold the parts to their allocation budgets, which the race detector would change
	@go test -count=1 -timeout $(TEST_TIMEOUT) -run 'Allocations|MoreMemoryThan' $(ARGS) $(MICRO)

.PHONY: fuzz
fuzz: bin/withpostgres ## run every fuzz test for FUZZ_TIME (10s)
	@bin/withpostgres -- .ci/fuzz $(FUZZ_TIME) $(PACKAGES)

.PHONY: lint
lint: ## check formatting, go vet and staticcheck in every module
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi
	go vet $(PACKAGES)
	go run $(STATICCHECK) $(PACKAGES)

.PHONY: build
build: ## build every module by itself, as those who import it do
	@for module in $(MODULES); do echo "build $$module"; (cd $$module && GOWORK=off go build ./...); done

# Where make clib installs to: $(DESTDIR)$(PREFIX).
PREFIX ?= $(CURDIR)/bin/clib
DESTDIR ?=

.PHONY: clib
clib: ## build libonlyonce for C, and install it below PREFIX (bin/clib) with headers, pkg-config file and man page
	@$(MAKE) --no-print-directory -C clib install PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' OUT='$(CURDIR)/bin/clib-build'

.PHONY: fmt
fmt: ## format the code
	gofmt -w .

.PHONY: ci
ci: ## run everything that CI runs
	.ci/run

.PHONY: clean
clean: ## remove what the other targets built
	rm -rf bin

# Built rather than run by go run, which would stand between them and their signals and exit codes. Go knows best whether
# they are up to date.
.PHONY: bin/withpostgres bin/testsummary bin/torture bin/testmatrix bin/mutants
bin/withpostgres bin/testsummary bin/torture bin/testmatrix bin/mutants:
	@go build -C integration -o ../$@ ./cmd/$(@F)
