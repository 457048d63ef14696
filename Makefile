# lendis: build, test, install. `make help` lists what there is.
#
# CC, CFLAGS, CPPFLAGS, LDFLAGS and PKG_CONFIG are the caller's and used as given. Each flavour
# (plain, asan, tsan, crash, ...) is built in a folder of its own: build/ for the plain one,
# build/FLAVOUR/ for the others.

VERSION := 0.1.0
SOVERSION := 0

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/lendis
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/site-functions
UNITDIR ?= $(PREFIX)/lib/systemd
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
MODULESLOADDIR ?= $(PREFIX)/lib/modules-load.d
INSTALL ?= install
# Where Debian's own interpreter looks: its packages' folder, or that of the local administrator.
PYTHON ?= /usr/bin/python3
PYTHON_OWN = $(shell $(PYTHON) -c \
	'import sys; print("python%d.%d" % sys.version_info[:2])' 2>/dev/null || echo python3)
PYTHONDIR ?= $(PREFIX)/lib/$(if $(filter /usr,$(PREFIX)),python3,$(PYTHON_OWN))/dist-packages

PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
FLAVOUR ?=
V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)	$(2)")

# What a flavour adds. Steps: kill points before every shared-memory step (include/lendis/shm.h).
FLAVOUR_asan := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAVOUR_ubsan := -fsanitize=undefined -fno-sanitize-recover=all
FLAVOUR_tsan := -fsanitize=thread
FLAVOUR_crash := -DLENDIS_STEPS
FLAVOUR_coverage := --coverage -O0
# Of another layout than this one: for the test of an upgrade.
FLAVOUR_next := -DLENDIS_ABI_MAJOR=1000u
# For clang: make fuzz.
FLAVOUR_fuzz := $(FLAVOUR_asan) -fsanitize=fuzzer-no-link
ifneq ($(FLAVOUR),)
ifeq ($(FLAVOUR_$(FLAVOUR)),)
$(error FLAVOUR is one of asan, ubsan, tsan, crash, coverage, next, fuzz)
endif
endif

B := build$(if $(FLAVOUR),/$(FLAVOUR))
O := $(B)/obj

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
WERROR ?= $(if $(CI),-Werror)
HARDENING := -fstack-protector-strong \
	$(if $(findstring -O0,$(FLAVOUR_$(FLAVOUR))),,-D_FORTIFY_SOURCE=2)
ALL_CPPFLAGS := -D_GNU_SOURCE -DLENDIS_BUILD_VERSION='"$(VERSION)"' -Iinclude -I. $(CPPFLAGS)
ALL_CFLAGS := -std=gnu11 -fPIC -fvisibility=hidden -pthread $(WARNINGS) $(WERROR) $(HARDENING) \
	$(CFLAGS) $(FLAVOUR_$(FLAVOUR))
ALL_LDFLAGS := -pthread -Wl,-z,relro,-z,now $(LDFLAGS) $(FLAVOUR_$(FLAVOUR))

HIREDIS_CFLAGS = $(shell $(PKG_CONFIG) --cflags hiredis)
HIREDIS_LIBS = $(shell $(PKG_CONFIG) --libs hiredis)
SYSTEMD_LIBS = $(shell $(PKG_CONFIG) --libs libsystemd)
INIH_LIBS = $(shell $(PKG_CONFIG) --libs inih)
OPENSSL_LIBS = $(shell $(PKG_CONFIG) --libs openssl)
BROKER_LIBS = $(SYSTEMD_LIBS) $(INIH_LIBS) -ldl
SMARTCOLS_CFLAGS = $(shell $(PKG_CONFIG) --cflags smartcols)
SMARTCOLS_LIBS = $(shell $(PKG_CONFIG) --libs smartcols)
CMOCKA_LIBS = $(shell $(PKG_CONFIG) --libs cmocka)

# ---- sources ----

SHARED_SOURCES := $(addprefix libclient/shared/,broker_socket.c catalog.c command.c descriptor.c \
	mail_area.c mailbox.c password_file.c poll_wakeup.c queue.c redis_url.c request.c \
	segment.c served.c server_error.c waiter.c wire.c)
CLIENT_SOURCES := $(addprefix libclient/,acquire.c async.c attempt.c call.c error.c \
	exec.c handle.c hiredis.c lease.c lease_call.c lending.c lending_policy.c loss.c \
	notice.c quick_lease.c reply_bytes.c service.c)
CLIENT_SOURCES += $(addprefix libclient/connection/,dial.c fallback.c private_connection.c \
	resp.c session.c socket_io.c)
CLIENT_SOURCES += $(addprefix libclient/handover/,batch.c combiner.c doorbell.c submit.c \
	takeover.c wait_slot.c)
CLIENT_SOURCES += $(addprefix libclient/membership/,attach.c attachment.c broker_link.c \
	inherit.c membership.c reach.c redis_peer.c socket_cookie.c uid_limit.c)

# The library for unmodified programs: what it is made of, and liblendis without hiredis, compiled
# so that it enters none of the hooks, and with descriptors far above those of the program.
PRELOAD_OWN := answers child copying counts descriptors epoll_table map mine own plan private real \
	receiving request sending settings stream swap table tally traffic ways \
	$(addprefix hooks/,elsewhere hooks other_names polling)
PRELOAD_SOURCES := $(PRELOAD_OWN:%=libclient/preload/%.c)
PRELOAD_FLOOR := 700

# lendisd, from the lowest folder up.
TERMINAL_SOURCES := $(addprefix broker/base/,clock.c option_table.c standard_io.c text.c)
BASE_SOURCES := $(TERMINAL_SOURCES) $(addprefix broker/base/,background.c fd_store.c installed.c \
	listen.c log.c log_writer.c password_reader.c process.c random.c resolver.c secret.c \
	service_manager.c thread.c timer.c tool.c tool_keeper.c)
CONFIG_SOURCES := $(addprefix broker/config/,accounts.c checks.c config.c encryption.c \
	environment.c file.c keys.c loader.c passwords.c print.c values.c words.c)
REDIS_SOURCES := $(addprefix broker/redis/,channel.c command_info.c dial_error.c dial_turns.c \
	dialler.c handshake.c redirection.c replies.c reply_walk.c replication.c rights.c \
	session_info.c session_reset.c transport.c)
POOL_SOURCES := $(addprefix broker/pool/,casualty.c cleaning.c connection.c corruption.c \
	deferred.c direct.c events.c leak_report.c lease_limits.c maintenance.c members.c \
	passing.c pause.c poll_wakeups.c pool.c private.c reconfigure.c restore.c revocation.c \
	scan.c sizing.c stalled.c worker_set.c)
POOL_SOURCES += $(addprefix broker/pool/server/,credential.c dialling.c encryption.c health.c \
	name_watch.c notice.c redirected.c role_watch.c server.c target.c unwell.c)
# The loader of lendisd-tls.so, and what that consists of: it alone is linked with OpenSSL.
TLS_LOADER_SOURCES := broker/tls/library.c
TLS_SOURCES := $(addprefix broker/tls/,connection.c context.c fault.c material.c plugin.c pump.c \
	relay.c sessions.c socket_bio.c stamp.c)
# What gives a connection's records to the kernel.
KERNEL_TLS_SOURCES := $(addprefix broker/tls/,kernel_choice.c kernel_keys.c kernel_tls.c \
	kernel_watch.c key_schedule.c)
TLS_SOURCES += $(KERNEL_TLS_SOURCES) $(addprefix broker/base/,clock.c secret.c thread.c)
WORKERS_SOURCES := $(addprefix broker/workers/,accept.c direct_request.c peer.c places.c \
	question.c unattached.c worker.c workers.c)
METRICS_SOURCES := $(addprefix broker/metrics/,metrics.c statistics.c)
DAEMON_SOURCES := $(addprefix broker/daemon/,broker.c catalog_writer.c control.c listener.c \
	reload.c supervise.c)
BROKER_SOURCES := broker/base/proc.c $(BASE_SOURCES) $(CONFIG_SOURCES) $(REDIS_SOURCES) \
	$(TLS_LOADER_SOURCES) \
	$(POOL_SOURCES) $(WORKERS_SOURCES) $(METRICS_SOURCES) \
	$(addprefix broker/metrics/,exporter.c microhttpd.c) $(DAEMON_SOURCES)

# The tools.
TOOLS_SOURCES := $(addprefix broker/tools/,find_broker.c table.c) broker/base/proc.c \
	$(TERMINAL_SOURCES)
CTL_SOURCES := $(addprefix broker/ctl/,commands.c control.c lists.c main.c screen.c show.c \
	show_config.c show_passwords.c show_preload.c show_services.c show_statistics.c shown.c \
	top.c top_rows.c) \
	broker/tools/json.c $(TOOLS_SOURCES) $(METRICS_SOURCES)
REPORT_SOURCES := $(addprefix broker/report/,compare.c costs.c experiment.c figures.c kernel.c \
	main.c options.c picture.c processes.c progress.c redis_memory.c show.c targets.c watch.c \
	worker.c) $(TOOLS_SOURCES) broker/metrics/statistics.c
BENCH_SOURCES := $(addprefix broker/bench/,alone.c bench.c cell.c client.c cpu.c engine.c \
	figures.c forwarder.c idle.c lease.c load.c lock_pool.c machine.c main.c memory.c \
	options.c output.c rows.c storm.c units.c variant.c wake_limit.c) \
	broker/testbed/worker_processes.c $(addprefix broker/tools/,json.c table.c) \
	$(TERMINAL_SOURCES)
RUN_SOURCES := $(addprefix broker/run/,check.c functions.c main.c unit.c) \
	broker/base/installed.c $(TERMINAL_SOURCES)
# What tests and measuring tools stand on.
TESTBED_SOURCES := $(addprefix broker/base/,proc.c proc_text.c) \
	$(addprefix broker/testbed/,certificates.c lendisd.c process.c program.c redis.c scratch.c)
SUPPORT_SOURCES := $(TESTBED_SOURCES) broker/testbed/worker_processes.c \
	$(addprefix tests/support/,failing_malloc.c fake_redis.c fixture.c judge.c observer.c)

# Of the measuring tools alone.
TOOL_OBJECTS = $(O)/broker/testbed/plot.o $(O)/broker/testbed/tls_client.o

# One program each; a unit test needs no server, a system test starts its own redis-server and
# lendisd.
UNIT_TESTS := $(addprefix libclient/test_,command mail_area mailbox password_file queue resp \
	segment server_error session takeover wire word)
UNIT_TESTS += $(addprefix libclient/test_,preload_stream socket_io)
UNIT_TESTS += $(addprefix broker/test_,kernel_tls key_schedule)
UNIT_TESTS += $(addprefix broker/test_,bench command_info config dial_turns handshake json log \
	option_table plot proc_text process replication session_info statistics text timer words)
SYSTEM_TESTS := $(addprefix libclient/test_,allocations async call cancellation commands fallback \
	fork handover hygiene leases lending quick reach replies service sessions stdio surplus)
SYSTEM_TESTS += $(addprefix broker/test_,broker casualties dial_turns failing_malloc handshake \
	hostile limits log no_memory password_command passwords places questions redis_failures \
	reset roles secret_memory secrets server_errors stall statistics upkeep)
# A sanitizer has to be the first library of a program; these programs are others' and have none.
SYSTEM_TESTS += $(if $(filter asan ubsan tsan fuzz,$(FLAVOUR)),,preload/test_preload)
SYSTEM_TESTS += $(addprefix tls/test_,relay tls tls_faults)
SYSTEM_TESTS += $(addprefix tools/test_,bench lendisctl operation report)

objects = $(patsubst %.c,$(O)/%.o,$(1))
SHARED_OBJECTS := $(call objects,$(SHARED_SOURCES))
CLIENT_OBJECTS := $(call objects,$(CLIENT_SOURCES)) $(SHARED_OBJECTS)
PRELOAD_OBJECTS := $(call objects,$(PRELOAD_SOURCES)) \
	$(patsubst $(O)/%,$(B)/preload/%,$(filter-out %/hiredis.o,$(CLIENT_OBJECTS)))
BROKER_ONLY := $(call objects,$(BROKER_SOURCES))
BROKER_OBJECTS := $(BROKER_ONLY) $(SHARED_OBJECTS)
TLS_OBJECTS := $(call objects,$(TLS_SOURCES))
CTL_OBJECTS := $(call objects,$(CTL_SOURCES)) $(SHARED_OBJECTS)
REPORT_OBJECTS := $(call objects,$(REPORT_SOURCES))
SUPPORT_OBJECTS := $(call objects,$(SUPPORT_SOURCES))
RUN_OBJECTS := $(call objects,$(RUN_SOURCES))
BENCH_OBJECTS := $(call objects,$(BENCH_SOURCES))
TESTBED_OBJECTS := $(call objects,$(TESTBED_SOURCES))

# Scripts test what is built or installed. tests/run says how a test reports that it failed or was
# skipped.
SCRIPT_TESTS := $(addprefix tests/system/,tools/install.sh tools/manual.sh tools/completion.sh \
	broker/supervise.sh broker/init.sh tools/printing.sh)
SCRIPT_TESTS += $(addprefix tests/system/preload/,functions.sh run.sh clients.sh)
# Unmodified servers under load; LONG=10 makes them take ten times as many answers. These are the
# short ones; make servers runs the others as well.
SERVER_TESTS := $(addprefix tests/system/servers/,apache.sh clients.sh fpm.sh gunicorn.sh \
	uwsgi.sh)
SCRIPT_TESTS += $(SERVER_TESTS)
MORE_SERVER_TESTS := $(addprefix tests/system/servers/,celery.sh rq.sh)
# The Python package, with Debian's own interpreter.
SCRIPT_TESTS += $(addprefix tests/system/python/,raw.py drop_in.py loop.py \
	hazards.py frameworks.py workers.py)
# Under a systemd of their own, in which they install what is built; with the load generator.
SYSTEMD_TESTS := $(addprefix tests/systemd/,units.sh restart.sh upgrade.sh servers.sh)

# A fuzz target each; the corpus of each is run in make check, too.
FUZZ_TARGETS := resp command config wire redis_url
FUZZ_PROGRAMS := $(FUZZ_TARGETS:%=$(B)/tests/fuzz/fuzz_%)

UNIT_PROGRAMS := $(UNIT_TESTS:%=$(B)/tests/unit/%) $(FUZZ_TARGETS:%=$(B)/tests/fuzz/replay_%)
SYSTEM_PROGRAMS := $(SYSTEM_TESTS:%=$(B)/tests/system/%)
# Kill points are in the library of the crash flavour; the broker beside it is this flavour's.
KILLPOINTS := build/crash/tests/crash/killpoints/killpoints
# Counts the steps that the broker takes.
BUDGET := build/crash/tests/unit/broker/test_budget
STRESS_PROGRAMS := $(addprefix $(B)/tests/crash/storm/,storm fork_race)

PROGRAMS := $(B)/lendisd $(B)/lendisctl $(B)/lendis-report $(B)/lendis-bench $(B)/lendis-run
LIBRARIES := $(B)/liblendis.a $(B)/liblendis.so $(B)/liblendis-preload.so $(B)/lendisd-tls.so
MAN_PAGES := $(patsubst deploy/man/%.scd,$(B)/man/%,$(wildcard deploy/man/*.scd))

# Made from what the programs say of themselves: the example configuration, completions of shells.
EXAMPLE := $(B)/lendis.conf
COMPLETIONS := $(patsubst deploy/%,$(B)/%,$(wildcard deploy/completion/*))

# Debian packages, brought by deploy/deps.sh where they are missing. NO_DEPS=1: never.
BUILD_DEPS := pkg-config libhiredis-dev libsystemd-dev libinih-dev libsmartcols-dev \
	libmicrohttpd-dev libssl-dev
MAN_DEPS := scdoc
DEMO_DEPS := redis-server gunicorn python3-redis
CHECK_DEPS := $(MAN_DEPS) redis-server openssl gnuplot-nox nutcracker haproxy iproute2 \
	libcmocka-dev valgrind strace clang libclang-rt-14-dev clang-format \
	python3-prometheus-client python3-redis python3-hiredis gunicorn php-cli php-fpm php-redis
CHECK_DEPS += python3-gevent python3-django python3-django-redis python3-celery \
	python3-flask-caching
CHECK_DEPS += apache2 libapache2-mod-php celery uwsgi-core uwsgi-plugin-python3 supervisor \
	ruby-redis
# A kernel's package is downloaded besides, by tests/ktls/machine.sh.
KTLS_DEPS := qemu-system-x86 busybox-static cpio redis-server
LINT_DEPS := clang-format clang-tidy cppcheck
BENCH_DEPS := redis-server openssl nutcracker haproxy gnuplot-nox

.PHONY: all
all: ## build everything that is installed (default)
all: $(PROGRAMS) $(LIBRARIES) $(EXAMPLE) $(COMPLETIONS)

# ---- rules ----

# A program of the objects and archives that it depends on, with these libraries.
define link
@mkdir -p $(@D)
$(call say,LD,$@)
$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(1)
endef

$(O)/%.o: %.c | deps-build
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(call objects,$(PRELOAD_SOURCES)) $(filter $(B)/preload/%,$(PRELOAD_OBJECTS)): \
	ALL_CFLAGS += -DDESCRIPTOR_FLOOR=$(PRELOAD_FLOOR) -fexceptions

# What the library is made of calls the C library, not the hooks.
WITH_REAL_CALLS := -include libclient/preload/real_calls.h
$(B)/preload/%.o: %.c | deps-build
	@mkdir -p $(@D)
	$(call say,CC,$< (preload))
	$(Q)$(CC) $(WITH_REAL_CALLS) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/liblendis-preload.so: $(PRELOAD_OBJECTS) libclient/preload/preload.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,liblendis-preload.so \
		-Wl,--version-script=libclient/preload/preload.map $(if $(FLAVOUR),,-Wl,-z,defs) \
		$(ALL_LDFLAGS) -o $@ $(PRELOAD_OBJECTS) -ldl

$(B)/liblendis.a: $(CLIENT_OBJECTS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/liblendis.so.$(VERSION): $(CLIENT_OBJECTS) libclient/liblendis.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,liblendis.so.$(SOVERSION) \
		-Wl,--version-script=libclient/liblendis.map $(if $(FLAVOUR),,-Wl,-z,defs) \
		$(ALL_LDFLAGS) -o $@ $(CLIENT_OBJECTS) $(HIREDIS_LIBS)

$(B)/liblendis.so: $(B)/liblendis.so.$(VERSION)
	$(Q)ln -sf liblendis.so.$(VERSION) $(B)/liblendis.so.$(SOVERSION)
	$(Q)ln -sf liblendis.so.$(VERSION) $@

$(B)/lendisd: $(O)/broker/daemon/main.o $(BROKER_OBJECTS) | $(B)/lendisd-tls.so
	$(call link,$(BROKER_LIBS))

# Loaded by lendisd, beside which it lies: broker/tls/library.c.
$(B)/lendisd-tls.so: $(TLS_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(if $(FLAVOUR),,-Wl,-z,defs) $(ALL_LDFLAGS) -o $@ $(TLS_OBJECTS) \
		$(OPENSSL_LIBS)

$(B)/lendisctl: $(CTL_OBJECTS)
	$(call link,$(SMARTCOLS_LIBS))

# Where Debian has libraries, below lib.
$(O)/broker/base/installed.o: \
	ALL_CPPFLAGS += -DLENDIS_MULTIARCH='"$(shell $(CC) -print-multiarch 2>/dev/null)"'
$(B)/lendis-run: $(RUN_OBJECTS)
	$(call link,)

$(B)/lendis-report: $(REPORT_OBJECTS) $(TESTBED_OBJECTS) $(TOOL_OBJECTS) $(B)/liblendis.a
	$(call link,$(HIREDIS_LIBS) $(SMARTCOLS_LIBS) -lm -ldl)

$(B)/tests/unit/%: $(O)/tests/unit/%.o $(SUPPORT_OBJECTS) $(B)/liblendis.a $(BROKER_ONLY)
	$(call link,$(CMOCKA_LIBS) $(HIREDIS_LIBS) $(BROKER_LIBS) -lm)

# Of a socket that the test plays.
$(B)/tests/unit/libclient/test_socket_io: ALL_LDFLAGS += -Wl,--wrap=poll,--wrap=recv

# Of the preloaded library: what knows bytes alone.
$(B)/tests/unit/libclient/test_preload_stream: \
	$(addprefix $(O)/libclient/preload/,plan.o request.o stream.o)

# Of kernel TLS: against OpenSSL, and with a kernel that the test plays.
KERNEL_TLS_TESTS := $(addprefix $(B)/tests/unit/broker/,test_key_schedule test_kernel_tls)
$(KERNEL_TLS_TESTS): BROKER_LIBS += $(OPENSSL_LIBS)
$(KERNEL_TLS_TESTS): $(call objects,$(KERNEL_TLS_SOURCES)) \
	$(addprefix $(O)/tests/support/,tls_pair.o tls_records.o)
$(B)/tests/unit/broker/test_kernel_tls: ALL_LDFLAGS += -Wl,--wrap=setsockopt

# With a kernel that has TLS: tests/ktls/machine.sh boots one.
KTLS_TESTS := $(addprefix $(B)/tests/ktls/,test_kernel_socket test_ktls)
$(B)/tests/ktls/%: $(O)/tests/ktls/%.o $(SUPPORT_OBJECTS) $(B)/liblendis.a
	$(call link,$(CMOCKA_LIBS) $(HIREDIS_LIBS) $(OPENSSL_LIBS))
$(B)/tests/ktls/test_kernel_socket: $(O)/broker/base/secret.o \
	$(call objects,$(KERNEL_TLS_SOURCES)) $(O)/tests/support/tls_pair.o

# Of the measuring tools.
$(B)/tests/unit/broker/test_plot: $(O)/broker/testbed/plot.o
$(B)/tests/unit/broker/test_json: $(O)/broker/tools/json.o
$(B)/tests/unit/broker/test_bench: \
	$(addprefix $(O)/broker/bench/,figures.o units.o cpu.o forwarder.o machine.o variant.o \
	client.o) $(O)/broker/testbed/tls_client.o
$(B)/tests/system/tools/test_report: $(O)/broker/report/processes.o

$(B)/tests/fuzz/replay_%: $(O)/tests/fuzz/%.o $(O)/tests/fuzz/replay.o $(BROKER_ONLY) \
		$(B)/liblendis.a
	$(call link,$(HIREDIS_LIBS) $(BROKER_LIBS))

$(B)/tests/fuzz/fuzz_%: $(O)/tests/fuzz/%.o $(B)/liblendis.a $(BROKER_ONLY)
	$(call link,-fsanitize=fuzzer $(HIREDIS_LIBS) $(BROKER_LIBS))

$(B)/tests/system/%: $(O)/tests/system/%.o $(SUPPORT_OBJECTS) $(B)/liblendis.a
	$(call link,$(CMOCKA_LIBS) $(HIREDIS_LIBS) $(SERVER_LIBS))

# A server with TLS that misbehaves.
$(B)/tests/system/tls/test_tls_faults: $(O)/tests/support/tls_server.o
$(B)/tests/system/tls/test_tls_faults: SERVER_LIBS = $(OPENSSL_LIBS)

# A program that knows nothing of lendis.
PRELOAD_CLIENT := $(B)/tests/system/preload/client
$(PRELOAD_CLIENT): $(O)/libclient/connection/resp.o \
		$(addprefix $(O)/tests/system/preload/,client.o client_attacks.o client_basic.o \
		client_elsewhere.o client_process.o client_raw.o)
	$(call link,-ldl)
$(B)/tests/system/preload/test_preload: | $(PRELOAD_CLIENT) $(B)/liblendis-preload.so

# What a clean connection is.
$(B)/tests/system/libclient/test_hygiene: $(O)/tests/support/clean.o
$(B)/tests/system/broker/test_reset: $(O)/tests/support/clean.o

# A primary, two replicas and their service.
$(B)/tests/system/broker/test_roles: $(O)/tests/support/trio.o
$(B)/tests/system/libclient/test_service: $(O)/tests/support/trio.o

# What is preloaded into a broker: memory that runs out, long timers that come soon.
$(B)/tests/support/%.so: $(O)/tests/support/%_preload.o
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(LDFLAGS) $(FLAVOUR_$(FLAVOUR)) -o $@ $^

$(B)/tests/system/broker/test_failing_malloc: | $(B)/tests/support/failing_malloc.so
$(B)/tests/system/tls/test_tls: | $(B)/tests/support/half_a_kernel.so
$(B)/tests/system/broker/test_places: | $(B)/tests/support/hasty_timers.so

.PHONY: allocations
allocations: ## let every allocation of the broker fail, once and from then on, in some minutes
allocations: $(B)/lendisd $(B)/tests/system/broker/test_failing_malloc
	@ALLOCATION_STEP=1 tests/run -t 3600 $(B)/tests/system/broker/test_failing_malloc

# A Redis module, for a server of the tests' own: it is no part of a flavour.
$(B)/tests/system/libclient/test_commands: | $(B)/tests/system/libclient/blocking_module.so
$(B)/tests/system/libclient/%.so: tests/system/libclient/%.c | deps-check
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=gnu11 -fPIC -shared $(WARNINGS) $(WERROR) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) \
		-o $@ $<

$(B)/lendis-bench: $(BENCH_OBJECTS) $(TESTBED_OBJECTS) $(TOOL_OBJECTS) $(B)/liblendis.a
	$(call link,$(HIREDIS_LIBS) $(SMARTCOLS_LIBS) -lm -ldl)

CRASH := $(B)/tests/crash
$(CRASH)/killpoints/killpoints: $(addprefix $(O)/tests/crash/killpoints/, \
	killpoints.o steps.o subject.o peer.o samples.o)
$(CRASH)/storm/storm: $(addprefix $(O)/tests/crash/storm/,storm.o load.o values.o ledger.o hunter.o)
$(CRASH)/storm/fork_race: $(O)/tests/crash/storm/fork_race.o
$(addprefix $(CRASH)/,killpoints/killpoints storm/storm storm/fork_race): $(SUPPORT_OBJECTS) \
		$(B)/liblendis.a
	$(call link,$(HIREDIS_LIBS))

ifneq ($(FLAVOUR),crash)
.PHONY: $(KILLPOINTS) $(BUDGET)
$(KILLPOINTS) $(BUDGET): | deps-check
	@$(MAKE) --no-print-directory FLAVOUR=crash $@
endif

# What an upgrade brings: broker and load generator of another layout.
NEXT := build/next/lendisd build/next/lendis-bench
ifneq ($(FLAVOUR),next)
.PHONY: $(NEXT)
$(NEXT): | deps-build
	@$(MAKE) --no-print-directory FLAVOUR=next $@
endif

$(call objects,$(CTL_SOURCES) $(REPORT_SOURCES)): ALL_CPPFLAGS += $(SMARTCOLS_CFLAGS)
$(call objects,$(filter-out $(BENCH_SOURCES),$(wildcard tests/*/*.c tests/*/*/*.c))): | deps-check

# What the programs say of themselves is filled in: see deploy/generate.sh.
$(B)/man/%: deploy/man/%.scd deploy/generate.sh $(PROGRAMS) | deps-man
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)deploy/generate.sh $(B) $< >$@.scd && scdoc <$@.scd >$@

$(B)/completion/%: deploy/completion/% deploy/generate.sh $(PROGRAMS)
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)deploy/generate.sh $(B) $< >$@

$(EXAMPLE): deploy/lendis.conf.in deploy/generate.sh $(B)/lendisd
	$(call say,GEN,$@)
	$(Q)deploy/generate.sh $(B) $< >$@

# ---- packages ----

deps_rule = $(if $(NO_DEPS),@:,@sh deploy/deps.sh $(1))

.PHONY: deps deps-build deps-man deps-check deps-lint deps-bench deps-ktls
deps: ## install the Debian packages that make and make check need and that are missing
	$(call deps_rule,$(BUILD_DEPS) $(CHECK_DEPS))
deps-build:
	$(call deps_rule,$(BUILD_DEPS))
deps-man:
	$(call deps_rule,$(MAN_DEPS))
# One apt-get at a time.
deps-check: | deps-build
	$(call deps_rule,$(CHECK_DEPS))
deps-lint: | deps-check
	$(call deps_rule,$(LINT_DEPS))
# Where they cannot be had, the tests say what is missing.
deps-ktls: | deps-check
	-$(call deps_rule,$(KTLS_DEPS))
deps-bench: | deps-build
	$(call deps_rule,$(BENCH_DEPS))

# ---- test ----

# What tests find in their environment. LENDIS_BUILD: the folder of the programs to be tested.
export LENDIS_BUILD := $(B)
export CC PKG_CONFIG

VALGRIND := valgrind -q --leak-check=full --show-leak-kinds=definite,possible --error-exitcode=99 \
	--suppressions=tests/valgrind.supp

# The broker that hostile workers are let loose on has sanitizers.
HOSTILE_BROKER := $(if $(FLAVOUR),,asan-broker)
.PHONY: asan-broker
asan-broker:
	@$(MAKE) --no-print-directory FLAVOUR=asan build/asan/lendisd

.PHONY: check unit system scripts
check: ## build and run all tests
check: all man $(NEXT) $(UNIT_PROGRAMS) $(SYSTEM_PROGRAMS) $(HOSTILE_BROKER) $(KILLPOINTS) \
		$(BUDGET) $(STRESS_PROGRAMS)
	@tests/run -j $(TEST_JOBS) $(UNIT_PROGRAMS) $(BUDGET) $(SYSTEM_PROGRAMS) $(SCRIPT_TESTS) \
		-t $(STRESS_LIMIT) $(KILLPOINTS) $(MODEL_PROGRAMS) \
		-j 1 $(STRESS_PROGRAMS) tests/crash/storm/busy_storm.sh $(SYSTEMD_TESTS)

.PHONY: check-busy
check-busy: ## make check with two busy loops beside it: no test depends on how fast the machine is
	@tests/busy.sh 2 $(MAKE) --no-print-directory check

# How many tests run at a time: they wait more than they work.
TEST_JOBS ?= 3

unit: $(UNIT_PROGRAMS) ## run the unit tests; FLAVOUR=asan|ubsan|tsan builds them so
	@tests/run $(UNIT_PROGRAMS)

system: ## run the tests against a real redis-server; FLAVOUR likewise; TEST_JOBS=1 one at a time
system: $(PROGRAMS) $(SYSTEM_PROGRAMS) $(HOSTILE_BROKER)
	@tests/run -j $(TEST_JOBS) $(SYSTEM_PROGRAMS)

# Of programs that use the library, with TLS in place of Unix sockets and TCP.
TLS_SYSTEM_TESTS := $(addprefix libclient/test_,call cancellation handover leases sessions surplus)
.PHONY: system-tls
system-tls: ## run some of the system tests on pools with TLS; REDIS_TLS=relay
system-tls: $(PROGRAMS) $(B)/lendisd-tls.so $(TLS_SYSTEM_TESTS:%=$(B)/tests/system/%)
	@REDIS_TLS=$${REDIS_TLS:-relay} tests/run $(TLS_SYSTEM_TESTS:%=$(B)/tests/system/%)

scripts: all man ## run the tests of the installation and of the manual
	@tests/run $(SCRIPT_TESTS)

.PHONY: servers
servers: all | deps-check ## run unmodified servers on a pool, under load; LONG=10 for longer
	$(call deps_rule,python3-rq)
	@tests/run -t $(if $(LONG),1200,300) $(SERVER_TESTS) $(MORE_SERVER_TESTS)

.PHONY: servers-memory
servers-memory: all | deps-check ## measure what connections of php-fpm and gunicorn take
	@tests/system/servers/memory.py

FIGURES_DEPS := nginx-light apache2-utils
.PHONY: servers-figures
servers-figures: all | deps-check ## measure php-fpm and gunicorn at a saturating load, in minutes
	$(call deps_rule,$(FIGURES_DEPS))
	@tests/system/servers/figures.sh

.PHONY: systemd
systemd: ## run the tests of the units and of restarts, under a real systemd (as root)
systemd: all man $(NEXT)
	@tests/run $(SYSTEMD_TESTS)

.PHONY: ktls ktls-short ktls-figures
# What of the system tests and the storm runs there.
KTLS_SYSTEM := $(addprefix $(B)/tests/,system/libclient/test_leases crash/storm/storm)
ktls: ## boot a kernel that has kernel TLS, under qemu, and test on it what runs on kernel TLS
ktls: all $(KTLS_TESTS) $(KTLS_SYSTEM) | deps-ktls
	@tests/run -t 1600 tests/ktls/short.sh tests/ktls/long.sh

ktls-short: all $(KTLS_TESTS) | deps-ktls ## a minute of it: sockets alone
	@tests/run -t 400 tests/ktls/short.sh

ktls-figures: all | deps-ktls ## kernel TLS and a relay beside plain connections, as ratios
	@tests/ktls/figures.sh

.PHONY: crash stress
# How long the storm lasts at least, and after how many seconds a test of these counts as hanging.
STRESS_SECONDS ?= 0
export STRESS_SECONDS
STRESS_LIMIT = $(shell expr $(STRESS_SECONDS) + 300)
crash: $(B)/lendisd $(KILLPOINTS) ## kill, stop, fork and exec a worker at every step that it takes
	@timeout --foreground $(STRESS_LIMIT) $(KILLPOINTS)

# It ends after STORM_COMMANDS or STRESS_SECONDS, whichever comes last; see tests/README.md.
stress: ## kill a worker every 10 ms, until STORM_COMMANDS=1000000 are done
stress: $(B)/lendisd $(STRESS_PROGRAMS)
	@for program in $(STRESS_PROGRAMS); do \
		timeout --foreground $(STRESS_LIMIT) $$program || exit; done

# ---- model ----

# Two models, each with shared memory, processes and scenarios of its own. They are no part of a
# flavour. The code that is explored is compiled so that its stacks keep as little as possible that
# means nothing any more: the fewest states.
MODEL := $(B)/tests/model
MODEL_FLAGS = $(ALL_CPPFLAGS) -Itests/model -Itests/model/$(1) -DLENDIS_STEPS -DLENDIS_MODEL \
	-std=gnu11 $(WARNINGS) $(WERROR) $(CFLAGS) -fno-sanitize=all
MODEL_STEPPED = -include tests/model/$(1)/steps.h -O1 -fno-inline -fno-stack-protector
MODEL_QUEUE := $(addprefix $(MODEL)/queue/,model.o process.o \
	$(addprefix libclient/shared/,queue.o waiter.o))
MODEL_HANDOVER := $(addprefix $(MODEL)/handover/,model.o process.o $(addprefix libclient/, \
	attempt.o call.o exec.o lease.o lending.o lending_policy.o loss.o notice.o quick_lease.o \
	reply_bytes.o \
	$(addprefix connection/,resp.o session.o socket_io.o) \
	$(addprefix handover/,batch.o combiner.o doorbell.o submit.o takeover.o wait_slot.o) \
	$(addprefix shared/,command.o mailbox.o queue.o server_error.o waiter.o)))
MODEL_WORLD := $(addprefix common/,coroutine.o stage.o explorer.o program.o) world.o check.o trace.o
MODEL_QUEUE_WORLD := $(addprefix $(MODEL)/queue/,$(MODEL_WORLD))
MODEL_HANDOVER_WORLD := $(addprefix $(MODEL)/handover/,$(MODEL_WORLD) redis.o absent.o)

# $(1): queue or handover
define MODEL_RULES
$(MODEL)/$(1)/common/%.o: tests/model/%.c
	@mkdir -p $$(@D)
	$$(call say,CC,$$<)
	$$(Q)$$(CC) $$(call MODEL_FLAGS,$(1)) -O2 -MMD -MP -c -o $$@ $$<
$(MODEL)/$(1)/%.o: tests/model/$(1)/%.c
	@mkdir -p $$(@D)
	$$(call say,CC,$$<)
	$$(Q)$$(CC) $$(call MODEL_FLAGS,$(1)) \
		$$(if $$(filter process,$$*),$$(call MODEL_STEPPED,$(1)),-O2) -MMD -MP -c -o $$@ $$<
$(MODEL)/$(1)/libclient/%.o: libclient/%.c
	@mkdir -p $$(@D)
	$$(call say,CC,$$<)
	$$(Q)$$(CC) $$(call MODEL_FLAGS,$(1)) $$(call MODEL_STEPPED,$(1)) -MMD -MP -c -o $$@ $$<
endef
$(foreach model,queue handover,$(eval $(call MODEL_RULES,$(model))))

$(MODEL)/queue/model: $(MODEL_QUEUE) $(MODEL_QUEUE_WORLD)
$(MODEL)/handover/model: $(MODEL_HANDOVER) $(MODEL_HANDOVER_WORLD)
$(MODEL)/queue/model $(MODEL)/handover/model:
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

# Variants with a mistake in them: each succeeds if the explorer finds it.
MODEL_QUEUE_BROKEN := $(addprefix $(MODEL)/queue/broken_, \
	1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20)
$(MODEL_QUEUE_BROKEN): $(MODEL)/queue/broken_%: \
		$(addprefix tests/model/queue/,broken.c process.c model.c) \
		$(MODEL_QUEUE_WORLD) $(MODEL)/queue/model
	$(call say,CC,$@)
	$(Q)$(CC) $(call MODEL_FLAGS,queue) $(call MODEL_STEPPED,queue) -DMODEL_BREAK=$* \
		$(LDFLAGS) -o $@ $(filter %.c %.o,$^)

# $(1): number of the mistake, $(2): the files that it is in
define MODEL_MISTAKE
MODEL_HANDOVER_BROKEN += $(MODEL)/handover/broken_$(1)
$(MODEL)/handover/broken_$(1): $$(addprefix libclient/,$$(addsuffix .c,$(2))) \
		$$(addprefix tests/model/handover/,model.c broken.h) \
		$$(filter-out $$(addprefix %/,$$(addsuffix .o,$(2))) %/model.o,$(MODEL_HANDOVER)) \
		$(MODEL_HANDOVER_WORLD) $(MODEL)/handover/model
	$$(call say,CC,$$@)
	$$(Q)$$(CC) $$(call MODEL_FLAGS,handover) $$(call MODEL_STEPPED,handover) \
		-DMODEL_BREAK=$(1) $$(LDFLAGS) -o $$@ $$(filter %.c %.o,$$^)
endef
$(foreach mistake,1 2 3 4 5 8,$(eval $(call MODEL_MISTAKE,$(mistake),handover/batch)))
$(foreach mistake,6 7,$(eval $(call MODEL_MISTAKE,$(mistake),handover/takeover)))
$(foreach mistake,9 10 11 12 21,$(eval $(call MODEL_MISTAKE,$(mistake),handover/submit)))
$(eval $(call MODEL_MISTAKE,13,handover/wait_slot handover/submit))
$(eval $(call MODEL_MISTAKE,14,lease))
$(foreach mistake,15 16 17 18,$(eval $(call MODEL_MISTAKE,$(mistake),shared/mailbox)))
$(eval $(call MODEL_MISTAKE,19,shared/waiter))
$(eval $(call MODEL_MISTAKE,20,handover/doorbell))

MODEL_BROKEN := $(MODEL_QUEUE_BROKEN) $(MODEL_HANDOVER_BROKEN)
MODEL_PROGRAMS := $(MODEL)/queue/model $(MODEL)/handover/model $(MODEL_BROKEN)

.PHONY: model model-long
model: ## explore every interleaving and kill on the shipped code, in a minute
model: $(MODEL_PROGRAMS)
	@$(MODEL)/queue/model
	@$(MODEL)/handover/model
	@tests/run $(MODEL_BROKEN)

check: $(MODEL_PROGRAMS)

model-long: $(MODEL_PROGRAMS) ## the same with more processes: an hour and 16 GiB
	@$(MODEL)/queue/model --long
	@$(MODEL)/handover/model --long

# All system tests but those of the measuring tools, which take long, and of hostile workers, whose
# broker is of this flavour in make check as well.
ASAN_SYSTEM_TESTS := $(filter-out tools/test_bench tools/test_report broker/test_hostile \
	preload/%,$(SYSTEM_TESTS))
.PHONY: asan-system
asan-system: ## run most of the system tests with AddressSanitizer; FLAVOUR=asan system runs all
	@$(MAKE) --no-print-directory FLAVOUR=asan SYSTEM_TESTS='$(ASAN_SYSTEM_TESTS)' system

.PHONY: asan ubsan tsan
asan: ## run the unit tests with AddressSanitizer and UndefinedBehaviorSanitizer
ubsan: ## run the unit tests with UndefinedBehaviorSanitizer alone
tsan: ## run the unit tests with ThreadSanitizer
asan ubsan tsan:
	@$(MAKE) --no-print-directory FLAVOUR=$@ unit

.PHONY: fuzz fuzz-programs
FUZZ_CC ?= clang
fuzz: | deps-check ## fuzz parsers and the broker with clang's libFuzzer, for FUZZ_SECONDS=60 in all
	@$(MAKE) --no-print-directory FLAVOUR=fuzz CC=$(FUZZ_CC) fuzz-programs
	@tests/fuzz/run.sh build/fuzz $(FUZZ_TARGETS)
fuzz-programs: $(FUZZ_PROGRAMS)

.PHONY: valgrind
valgrind: $(UNIT_PROGRAMS) ## run the unit tests under valgrind
	@tests/run -w '$(VALGRIND)' -j $(TEST_JOBS) $(UNIT_PROGRAMS)

.PHONY: coverage
coverage: ## run unit and system tests and print which share of the lines they reach
	@rm -rf build/coverage
	@$(MAKE) --no-print-directory FLAVOUR=coverage unit system
	@find build/coverage/obj/broker build/coverage/obj/libclient -name '*.gcda' \
		-exec gcov -n -r {} + | tests/coverage.awk

.PHONY: lint format compile_commands.json
C_FILES = $(shell find include libclient broker tests deploy -name '*.[ch]')
# What the product consists of, and the tests that are compiled for every flavour.
# They have names of the C library: who uses these uses the C library's.
HOOK_OBJECTS = $(addprefix $(O)/libclient/preload/hooks/,elsewhere.o hooks.o other_names.o)
PRODUCT_OBJECTS = $(sort $(CLIENT_OBJECTS) $(TLS_OBJECTS) \
	$(filter-out $(HOOK_OBJECTS),$(call objects,$(PRELOAD_SOURCES))) $(BROKER_OBJECTS) \
	$(CTL_OBJECTS) $(REPORT_OBJECTS) $(RUN_OBJECTS) \
	$(BENCH_OBJECTS) $(TESTBED_OBJECTS) $(TOOL_OBJECTS) $(O)/broker/daemon/main.o)
TEST_OBJECTS = $(call objects,$(filter-out tests/system/libclient/blocking_module.c, $(wildcard \
	$(addprefix tests/,unit/*/*.c system/*/*.c fuzz/*.c support/*.c crash/storm/*.c))))
PRELOAD_LINT = $(HOOK_OBJECTS) $(B)/preload/libclient/shared/descriptor.o
LINT_JOBS ?= $(shell nproc)
lint: ## check layers, sizes and layout, and look for mistakes (cppcheck, clang-tidy)
lint: compile_commands.json $(PROGRAMS) $(LIBRARIES) $(PRODUCT_OBJECTS) $(TEST_OBJECTS)
lint: $(PRELOAD_LINT) | deps-lint
	tests/lint/layers.sh $(PRODUCT_OBJECTS)
	tests/lint/unused.sh $(PRODUCT_OBJECTS) $(TEST_OBJECTS) $(PRELOAD_LINT)
	tests/lint/sizes.sh
	tests/lint/cancellation.sh $(O)/libclient/quick_lease.o
	tests/lint/descriptors.sh
	tests/lint/log.sh
	tests/lint/openssl.sh $(B)
	libclient/shared/command_table.sh | cmp - libclient/shared/command_table.h
	clang-format --dry-run -Werror $(C_FILES)
	cppcheck -q -j $(LINT_JOBS) --std=c11 --error-exitcode=1 \
		--enable=warning,portability,performance --inline-suppr \
		--suppressions-list=tests/lint/cppcheck.txt -D_GNU_SOURCE \
		-DLENDIS_BUILD_VERSION='"$(VERSION)"' -Iinclude -I. libclient broker
	printf '%s\n' $(filter libclient/%.c broker/%.c,$(C_FILES)) | \
		xargs -n 8 -P $(LINT_JOBS) clang-tidy --quiet --warnings-as-errors='*' -p .

format: | deps-lint ## lay out all C files
	clang-format -i $(C_FILES)

compile_commands.json: | deps-build ## for editors and clang-tidy
	@$(MAKE) --no-print-directory -nB V=1 NO_DEPS=1 all $(UNIT_PROGRAMS) $(SYSTEM_PROGRAMS) | \
		awk -v directory="$(CURDIR)" 'BEGIN { print "[" } \
		/ -c -o / && !/real_calls/ { file = $$NF; gsub(/["\\]/, "\\\\&"); \
		printf "%s{\"directory\": \"%s\", \"file\": \"%s\", \"command\": \"%s\"}", \
		comma, directory, file, $$0; comma = ",\n" } END { print "\n]" }' >$@

# ---- the demonstration ----

$(B)/examples/prefork-http: $(O)/deploy/examples/prefork-http.o $(B)/liblendis.a
	$(call link,$(HIREDIS_LIBS))

$(B)/examples/http-load: $(O)/deploy/examples/http-load.o
	$(call link,)

$(B)/examples/async: $(O)/deploy/examples/async.o $(B)/liblendis.a
	$(call link,$(HIREDIS_LIBS) $(SYSTEMD_LIBS))

$(B)/examples/worker: $(O)/deploy/examples/worker.o $(B)/liblendis.a
	$(call link,$(HIREDIS_LIBS))

.PHONY: examples
examples: ## build the programs of deploy/examples
examples: $(addprefix $(B)/examples/,worker async prefork-http http-load)

$(B)/tests/system/libclient/test_async: | $(B)/examples/async

.PHONY: demo deps-demo
demo: ## see 200 workers on 8 connections, next to 200 connections
demo: $(PROGRAMS) $(B)/liblendis-preload.so $(B)/examples/prefork-http
demo: $(B)/examples/http-load | deps-demo
	@deploy/examples/demo.sh
	@deploy/examples/unmodified/demo.sh
deps-demo: | deps-build
	$(call deps_rule,$(DEMO_DEPS))

# ---- bench ----

.PHONY: bench bench-full
bench: ## measure speed beside direct connections and proxies, against targets, in 3 minutes
bench: $(PROGRAMS) | deps-bench
	@$(B)/lendis-bench $(BENCH_OPTIONS)

bench-full: ## all loads and variants, in 20 minutes; BENCH_OPTIONS="--plot bench.svg" for both
bench-full: $(PROGRAMS) | deps-bench
	@$(B)/lendis-bench --full $(BENCH_OPTIONS)

.PHONY: python-figures python-wheel
python-figures: $(PROGRAMS) $(LIBRARIES) | deps-check ## measure redis-py, direct and lent
	@tests/system/python/figures.py

.PHONY: python-suite
SUITE_DEPS := python3-pytest python3-pytest-asyncio python3-pytest-timeout
python-suite: $(PROGRAMS) $(LIBRARIES) | deps-check ## redis-py's own suite, of the checkout SUITE
	$(call deps_rule,$(SUITE_DEPS))
	@$(PYTHON) tests/system/python/suite.py $(abspath $(SUITE))

# From a copy: setuptools leaves its files beside the sources.
WHEEL_DEPS := python3-pip python3-setuptools python3-wheel
python-wheel: ## build/python/*.whl, the Python package without the library
	$(call deps_rule,$(WHEEL_DEPS))
	$(Q)rm -rf $(B)/python && mkdir -p $(B)/python && cp -R libclient/python $(B)/python/source
	$(Q)$(PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --no-index \
		-w $(B)/python $(B)/python/source
	@ls $(B)/python/*.whl

.PHONY: report
report: ## measure the memory of connections with and without lendis, in 4 minutes
report: $(PROGRAMS) | deps-bench
	@$(B)/lendis-report compare --idle $(REPORT_OPTIONS)
	@echo && $(B)/lendis-report compare --busy $(REPORT_OPTIONS)
	@echo && $(B)/lendis-report compare --busy --workers 500 --pool-size 64 $(REPORT_OPTIONS)
	@echo && $(B)/lendis-report compare --reference $(REPORT_OPTIONS)

# ---- install ----

.PHONY: man install uninstall
man: $(MAN_PAGES) ## build the manual pages

TOOLS := lendisctl lendis-report lendis-bench lendis-run
PYTHON_FILES := $(notdir $(wildcard libclient/python/lendis/*.py)) py.typed
PUBLIC_HEADERS := include/lendis.h include/lendis_hiredis.h
# For the system, for one of several brokers (lendis@NAME), and for a user's own manager.
UNITS := $(addprefix system/,lendis.socket lendis.service lendis@.socket lendis@.service) \
	$(addprefix user/,lendis.socket lendis.service)

install: all man ## install below $(DESTDIR)$(PREFIX); BINDIR, LIBDIR, ... can be given
	$(INSTALL) -d $(addprefix $(DESTDIR),$(BINDIR) $(SBINDIR) $(LIBDIR)/pkgconfig \
		$(INCLUDEDIR) $(DOCDIR))
	$(INSTALL) -m 755 $(addprefix $(B)/,$(TOOLS)) $(DESTDIR)$(BINDIR)/
	$(INSTALL) -m 755 $(B)/lendisd $(DESTDIR)$(SBINDIR)/
	$(INSTALL) -m 644 $(PUBLIC_HEADERS) $(DESTDIR)$(INCLUDEDIR)/
	$(INSTALL) -m 644 $(B)/liblendis.a $(DESTDIR)$(LIBDIR)/
	$(INSTALL) -m 755 $(B)/liblendis.so.$(VERSION) $(B)/liblendis-preload.so \
		$(DESTDIR)$(LIBDIR)/
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/lendis
	$(INSTALL) -m 755 $(B)/lendisd-tls.so $(DESTDIR)$(LIBDIR)/lendis/
	ln -sf liblendis.so.$(VERSION) $(DESTDIR)$(LIBDIR)/liblendis.so.$(SOVERSION)
	ln -sf liblendis.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/liblendis.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		deploy/lendis.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/lendis.pc
	chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/lendis.pc
	$(INSTALL) -d $(DESTDIR)$(PYTHONDIR)/lendis
	$(INSTALL) -m 644 $(addprefix libclient/python/lendis/,$(PYTHON_FILES)) \
		$(DESTDIR)$(PYTHONDIR)/lendis/
	sed -i 's|^_INSTALLED = ""|_INSTALLED = "$(LIBDIR)/liblendis.so.$(SOVERSION)"|' \
		$(DESTDIR)$(PYTHONDIR)/lendis/_library.py
	for page in $(MAN_PAGES); do $(INSTALL) -D -m 644 $$page \
		$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit; done
	for tool in $(TOOLS); do $(INSTALL) -D -m 644 $(B)/completion/$$tool.bash \
		$(DESTDIR)$(BASHCOMPDIR)/$$tool || exit; done
	for tool in $(TOOLS); do $(INSTALL) -D -m 644 $(B)/completion/_$$tool \
		$(DESTDIR)$(ZSHCOMPDIR)/_$$tool || exit; done
	$(INSTALL) -m 644 LICENSE $(EXAMPLE) deploy/examples/worker.c deploy/examples/async.c \
		deploy/grafana/lendis.json deploy/prometheus/lendis.rules.yml $(DESTDIR)$(DOCDIR)/
	$(INSTALL) -d $(addprefix $(DESTDIR),$(UNITDIR)/system $(UNITDIR)/user $(SYSUSERSDIR) \
		$(DOCDIR)/systemd)
	for unit in $(UNITS); do deploy/systemd/unit.sh $$unit $(SBINDIR) \
		>$(DESTDIR)$(UNITDIR)/$$unit || exit; done
	chmod 644 $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS))
	$(INSTALL) -m 644 deploy/systemd/lendis.sysusers $(DESTDIR)$(SYSUSERSDIR)/lendis.conf
	$(INSTALL) -D -m 644 deploy/systemd/lendis.modules-load \
		$(DESTDIR)$(MODULESLOADDIR)/lendis.conf
	$(INSTALL) -m 644 deploy/systemd/examples/*.conf $(DESTDIR)$(DOCDIR)/systemd/

uninstall: ## remove what install installed
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(TOOLS)) $(DESTDIR)$(SBINDIR)/lendisd
	rm -f $(addprefix $(DESTDIR)$(INCLUDEDIR)/,$(notdir $(PUBLIC_HEADERS)))
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,liblendis.a liblendis-preload.so \
		liblendis.so.$(VERSION) liblendis.so.$(SOVERSION) liblendis.so pkgconfig/lendis.pc \
		lendis/lendisd-tls.so)
	rmdir $(DESTDIR)$(LIBDIR)/lendis 2>/dev/null || true
	for page in $(notdir $(MAN_PAGES)); do \
		rm -f $(DESTDIR)$(MANDIR)/man$${page##*.}/$$page; done
	rm -rf $(DESTDIR)$(PYTHONDIR)/lendis
	rm -f $(addprefix $(DESTDIR)$(BASHCOMPDIR)/,$(TOOLS))
	rm -f $(addprefix $(DESTDIR)$(ZSHCOMPDIR)/_,$(TOOLS))
	rm -f $(addprefix $(DESTDIR)$(DOCDIR)/,LICENSE lendis.conf worker.c async.c lendis.json \
		lendis.rules.yml)
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS)) \
		$(addprefix $(DESTDIR),$(SYSUSERSDIR)/lendis.conf $(MODULESLOADDIR)/lendis.conf)
	rm -f $(addprefix $(DESTDIR)$(DOCDIR)/systemd/, \
		$(notdir $(wildcard deploy/systemd/examples/*.conf)))
	rmdir $(DESTDIR)$(DOCDIR)/systemd $(DESTDIR)$(DOCDIR) 2>/dev/null || true

# ---- for people ----

.PHONY: clean
clean: ## remove build/
	rm -rf build compile_commands.json

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z_.-]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | \
		expand -t 30

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:
.DELETE_ON_ERROR:
