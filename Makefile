# pg_freeze: builds with PGXS.  The version is in pg_freeze.control only.

MODULE_big = pg_freeze
OBJS = \
	src/pg_freeze.o \
	src/guc.o \
	src/target.o \
	src/life.o \
	src/thaw.o \
	src/step.o \
	src/journal.o \
	src/strategy.o \
	src/revoke.o \
	src/lock.o \
	src/holder.o \
	src/hold.o \
	src/wanted.o \
	src/waiters.o \
	src/pass.o \
	src/values.o \
	src/recycle.o \
	src/read_only.o \
	src/disconnect.o \
	src/gate.o \
	src/gates.o \
	src/statefile.o \
	src/door.o \
	src/wait.o \
	src/plans.o \
	src/wal.o \
	src/belongs.o \
	src/background.o \
	src/login.o \
	src/objects.o \
	src/membership.o \
	src/changes.o \
	src/witness.o \
	src/ddl.o \
	src/acl.o \
	src/leak.o \
	src/drain.o \
	src/ladder.o \
	src/evict.o \
	src/sessions.o \
	src/call.o \
	src/worker.o \
	src/board.o \
	src/scheduler.o \
	src/launcher.o \
	src/live.o \
	src/guard.o \
	src/arguments.o \
	src/thawing.o \
	src/functions.o \
	src/stop.o \
	src/backup.o \
	src/backups.o \
	src/keeper.o

EXTENSION = pg_freeze
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" $(dir $(lastword $(MAKEFILE_LIST)))pg_freeze.control)
DATA = sql/pg_freeze--$(EXTVERSION).sql

PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Werror=implicit-function-declaration

# sql/X.sql with expected/X.out, specs/X.spec with expected/X.out, t/*.pl
REGRESS = freeze errors privileges objects merge overlap names undo ddl lock lock_leaks drain_ladder gate read_only disconnect backup
ISOLATION = drain recycle_alter lock_hold lock_drain lock_overlap lock_vacuum
# the same on a server that has pg_freeze preloaded: script/test runs them too
REGRESS_GATE =
ISOLATION_GATE = gate_hold gate_drain gate_reject gate_overlap gate_yield gate_pass gate_timeouts gate_setrole
TAP_TESTS = 1
# only for servers that the testers start themselves (--temp-instance)
REGRESS_OPTS = --temp-config=$(srcdir)/test.conf
ISOLATION_OPTS = --temp-config=$(srcdir)/test.conf

# the program; PGXS builds either a module or a program
PROGRAM_OBJS = \
	cli/main.o \
	cli/options.o \
	cli/connect.o \
	cli/files.o \
	cli/signals.o \
	cli/link.o \
	cli/call.o \
	cli/freeze.o \
	cli/make.o \
	cli/child.o \
	cli/hold.o \
	cli/run.o \
	cli/backup.o \
	cli/rescue.o \
	cli/show.o \
	cli/table.o

EXTRA_CLEAN = tmp_check_pg tmp_install output_iso cli/pg_freeze $(PROGRAM_OBJS)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS) $(OBJS:.o=.bc): $(wildcard $(srcdir)/src/*.h)

all: cli/pg_freeze
install: install-program
uninstall: uninstall-program

$(PROGRAM_OBJS): override CPPFLAGS += -I$(libpq_srcdir) -DPF_VERSION='"$(EXTVERSION)"'
$(PROGRAM_OBJS): $(wildcard $(srcdir)/cli/*.h)
cli/pg_freeze: $(PROGRAM_OBJS)
	$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDFLAGS_EX) -L$(pkglibdir) -L$(libdir) -lpgfeutils -lpgcommon -lpgport $(libpq) -lm -o $@

.PHONY: install-program uninstall-program
install-program: cli/pg_freeze
	$(MKDIR_P) '$(DESTDIR)$(bindir)' '$(DESTDIR)$(mandir)/man1'
	$(INSTALL_PROGRAM) cli/pg_freeze '$(DESTDIR)$(bindir)/pg_freeze'
	$(if $(wildcard $(srcdir)/doc/pg_freeze.1),$(INSTALL_DATA) $(srcdir)/doc/pg_freeze.1 '$(DESTDIR)$(mandir)/man1/pg_freeze.1')
uninstall-program:
	rm -f '$(DESTDIR)$(bindir)/pg_freeze' '$(DESTDIR)$(mandir)/man1/pg_freeze.1'
