# livemigrate: PGXS build of the extension. The project's own targets are in project.mk.
#
#   make, make install       as with every PGXS extension; PG_CONFIG=... picks the server
#   make check               everything testable; installs what it needs with apt first
#   make demo                a migration of a live database on this machine
#
# sql/ holds the extension's scripts (livemigrate--*.sql) and the pg_regress inputs side by side,
# because pg_regress of PostgreSQL 15 has no --expecteddir: expected/ at the root means sql/ at the
# root. DATA and REGRESS name which is which.

PG_CONFIG ?= pg_config
PROJECT_TARGETS = deps deps-demo deps-matrix check check-matrix check-hypertables prepare-hypertables \
                  check-sources check-headers extension conventions unit-test regress-test tap-test demo \
                  format format-check lint fuzz fuzz-test

# These must work before a server package, and so PGXS, is there; and PGXS has a `check` of its own.
ifneq (,$(filter $(PROJECT_TARGETS),$(MAKECMDGOALS)))
include project.mk
else

EXTENSION    = livemigrate
MODULE_big   = livemigrate
DATA         = $(wildcard sql/livemigrate--*.sql)
SOURCES      = $(wildcard src/*.cpp src/*/*.cpp)
OBJS         = $(SOURCES:.cpp=.o)
REGRESS      = $(filter-out livemigrate--%,$(sort $(notdir $(basename $(wildcard sql/*.sql)))))
REGRESS_OPTS = --temp-instance=./tmp_check --temp-config=test/regress.conf
TAP_TESTS    = 1
PROVE_TESTS  = test/t/*.pl
PROVE_FLAGS  = -I test/perl

PG_CPPFLAGS  = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server) \
               -isystem $(shell $(PG_CONFIG) --includedir) \
               -DPGDLLEXPORT='__attribute__((visibility("default")))'
# -ffile-prefix-map: the same library from whichever directory it is built in.
PG_CXXFLAGS  = -std=c++20 -MMD -MP -fvisibility=hidden -Wall -Wextra -Wshadow -Wno-register \
               -ffile-prefix-map=$(CURDIR)=. $(WERROR)
SHLIB_LINK   = $(libpq) -lsimdjson -llz4 -lstdc++
EXTRA_CLEAN  = $(OBJS:.o=.d) $(PRECOMPILED).gch tmp_check
override with_llvm := no

# A build takes a third of the time with PostgreSQL's and the standard headers read once, line
# tables instead of full debug information (make DEBUG=1 has that), and -O1 for what runs once in a
# while; and half of that without optimization (make QUICK=1).
PRECOMPILED  = src/pg/precompiled.hpp
HOT_OBJS     = $(filter src/core/%,$(OBJS)) $(addprefix src/stage/,apply.o apply_writer.o copy.o \
               plain_table.o receive.o target_relation.o value_input.o)
COLD_OBJS    = $(filter-out $(HOT_OBJS),$(OBJS))
# GCC 12 sees overflows in std::string where there are none (its bug 105329).
PG_CXXFLAGS += $(if $(DEBUG),,-g1) -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow

# -Wno-cpp: distributions ask for _FORTIFY_SOURCE, which takes optimization.
QUICK_FLAGS  = $(if $(QUICK),-O0 -g0 -Wno-cpp)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
-include $(OBJS:.o=.d)

$(HOT_OBJS): override CXXFLAGS += $(QUICK_FLAGS)
$(COLD_OBJS) $(PRECOMPILED).gch: override CXXFLAGS += $(or $(QUICK_FLAGS),-O1)
$(COLD_OBJS): override CXXFLAGS += -Winvalid-pch -include $(PRECOMPILED)
$(COLD_OBJS): $(PRECOMPILED).gch
$(PRECOMPILED).gch: $(PRECOMPILED) src/pg/prelude.hpp src/pg/compat.hpp
	$(COMPILE.cc) -MF /dev/null -x c++-header -o $@ $<

endif
