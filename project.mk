# The project's own targets; included by the Makefile when one of them is asked for.
#
#   deps          what all of this needs, with apt; quick when it is there
#   check         deps, then the six below
#   extension     build without warnings, install
#   conventions   the rules of CONTRIBUTING.md that a script can check
#   unit-test     GoogleTest on src/core
#   fuzz-test     three seconds of each fuzz target
#   regress-test  pg_regress on the installed extension
#   tap-test      TAP on the installed extension; PROVE_TESTS=test/t/001_x.pl for one file
#   check-sources the migrations from servers of other versions, which it fetches with npm first
#   check-matrix  build and all tests on PostgreSQL 17 in a Debian 13 tree, which it makes
#   check-hypertables   the same, but only the tests with TimescaleDB
#   prepare-hypertables     all of that but the tests
#   check-headers compiles src with other versions' server headers: HEADERS="directory ..."
#   demo          what that needs, extension, then a migration on this machine
#   fuzz          each fuzz target for FUZZ_SECONDS, and FUZZ_INPUTS inputs at least
#   format, format-check, lint    clang tools

SHELL          = /bin/bash
.SHELLFLAGS    = -o pipefail -c
MAKEFLAGS     += --no-print-directory
JOBS          ?= $(shell nproc)
PROVE_JOBS    ?= 5
BUILD_DIR     ?= build
FUZZ_DIR      ?= build-fuzz
FUZZ_SECONDS  ?= 60
FUZZ_INPUTS   ?= 0
CLANG_FORMAT  ?= clang-format
CLANG_TIDY    ?= clang-tidy

CXX_FILES      = $(sort $(shell find $(wildcard src test bench) -name '*.cpp' -o -name '*.hpp'))
LINT_FLAGS     = -std=c++20 -Isrc -Wno-register -isystem $$($(PG_CONFIG) --includedir-server) \
                 -isystem $$($(PG_CONFIG) --includedir)

# A parallel build, unless the caller has said how parallel.
submake        = $(MAKE) $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))
suites         = extension conventions unit-test fuzz-test regress-test tap-test

export PG_CONFIG PROVE_JOBS PROVE_TESTS

.PHONY: $(PROJECT_TARGETS)

deps:
	@tools/install_deps.sh

deps-demo:
	@tools/install_deps.sh demo

# Every suite runs, whatever the others said, so that one run shows everything; but without the
# extension there is nothing to test.
check: deps
	@failed=; \
	for suite in $(suites); do \
	    echo "== $$suite"; \
	    $(MAKE) $$suite && continue; \
	    failed="$$failed $$suite"; \
	    if [ $$suite = extension ]; then break; fi; \
	done; \
	if [ -n "$$failed" ]; then echo "== check FAILED:$$failed"; exit 1; fi; \
	echo "== check passed: $(suites)"

# Root's rights are taken only where the server's directories need them.
extension:
	@$(submake) all WERROR=-Werror
	@if [ -w "$$($(PG_CONFIG) --pkglibdir)" ]; then sudo=; else sudo=sudo; fi; \
	$$sudo $(MAKE) install PG_CONFIG='$(PG_CONFIG)' WERROR=-Werror

conventions:
	@test/conventions.sh

unit-test:
	@cmake -S . -B $(BUILD_DIR) >/dev/null
	@cmake --build $(BUILD_DIR) --parallel $(JOBS)
	@ctest --test-dir $(BUILD_DIR) --output-on-failure --parallel $(JOBS) | \
	    grep -vE '^ +Start +[0-9]+: |Test +#[0-9]+: .* Passed '

fuzz-test:
	@test/fuzz_targets.sh $(FUZZ_DIR) $(JOBS) 3

regress-test:
	@test/server_tests.sh regress

tap-test:
	@test/server_tests.sh tap

check-sources:
	@test/check_sources.sh

check-headers:
	@test/headers.sh $(HEADERS)

deps-matrix:
	@tools/install_deps.sh matrix

check-matrix: deps-matrix
	@test/matrix.sh all

check-hypertables: deps-matrix
	@test/matrix.sh hypertables

prepare-hypertables: deps-matrix
	@test/matrix.sh hypertables prepare

demo: deps-demo
	@$(MAKE) extension
	@demo/run.sh

format:
	@$(CLANG_FORMAT) -i $(CXX_FILES)

format-check:
	@$(CLANG_FORMAT) --dry-run -Werror $(CXX_FILES)

lint:
	@if ! command -v $(CLANG_TIDY) >/dev/null; then \
	    echo "lint: $(CLANG_TIDY) is not installed, nothing checked"; exit 0; fi; \
	printf '%s\n' $(filter src/%.cpp,$(CXX_FILES)) | \
	    xargs -P $(JOBS) -I {} $(CLANG_TIDY) --quiet --warnings-as-errors='*' {} -- $(LINT_FLAGS)

fuzz:
	@test/fuzz_targets.sh $(FUZZ_DIR) $(JOBS) $(FUZZ_SECONDS) $(FUZZ_INPUTS)

# Goals of PGXS named beside one of these ("make deps all"): one after the other, each by itself.
pgxs_goals     = $(filter-out $(PROJECT_TARGETS),$(MAKECMDGOALS))
ifneq (,$(pgxs_goals))
.NOTPARALLEL:
.PHONY: $(pgxs_goals)
$(pgxs_goals):
	@$(MAKE) $@
endif
