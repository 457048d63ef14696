# lendis: build, test, install. `make help` lists what there is.
#
# CC, CFLAGS, CPPFLAGS, LDFLAGS and PKG_CONFIG are the caller's and used as given. Each flavour (plain, asan, tsan,
# crash, ...) is built in a folder of its own: build/ for the plain one, build/FLAVOUR/ for the others.

VERSION := 0.1.0
SOVERSION := 0

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man

PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
FLAVOUR ?=
V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)	$(2)")

# What a flavour adds. Steps: kill points before every shared-memory step (include/lendis/shm.h).
FLAVOUR_asan := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAVOUR_tsan := -fsanitize=thread
FLAVOUR_crash := -DLENDIS_STEPS
FLAVOUR_coverage := --coverage -O0
ifneq ($(FLAVOUR),)
ifeq ($(FLAVOUR_$(FLAVOUR)),)
$(error FLAVOUR is one of asan, tsan, crash, coverage)
endif
endif

B := build$(if $(FLAVOUR),/$(FLAVOUR))
O := $(B)/obj

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
WERROR ?= $(if $(CI),-Werror)
HARDENING := -fstack-protector-strong $(if $(findstring -O0,$(FLAVOUR_$(FLAVOUR))),,-D_FORTIFY_SOURCE=2)
ALL_CPPFLAGS := -D_GNU_SOURCE -DLENDIS_BUILD_VERSION='"$(VERSION)"' -Iinclude -Ilibclient -I. $(CPPFLAGS)
ALL_CFLAGS := -std=gnu11 -fPIC -fvisibility=hidden -pthread $(WARNINGS) $(WERROR) $(HARDENING) $(CFLAGS) \
	$(FLAVOUR_$(FLAVOUR))
ALL_LDFLAGS := -pthread -Wl,-z,relro,-z,now $(LDFLAGS) $(FLAVOUR_$(FLAVOUR))

HIREDIS_CFLAGS = $(shell $(PKG_CONFIG) --cflags hiredis)
HIREDIS_LIBS = $(shell $(PKG_CONFIG) --libs hiredis)
SYSTEMD_LIBS = $(shell $(PKG_CONFIG) --libs libsystemd)
INIH_LIBS = $(shell $(PKG_CONFIG) --libs inih)
SMARTCOLS_LIBS = $(shell $(PKG_CONFIG) --libs smartcols)
CMOCKA_LIBS = $(shell $(PKG_CONFIG) --libs cmocka)

# ---- sources ----

SHARED_SOURCES := $(addprefix libclient/shared/,queue.c waiter.c segment.c catalog.c wire.c)
CLIENT_SOURCES := $(addprefix libclient/,pool.c attachment.c lease.c exec.c resp.c command.c session.c \
	hiredis.c error.c)
BROKER_SOURCES := $(addprefix broker/,config.c log.c resolver.c dialler.c connection.c pool.c worker.c broker.c)
CTL_SOURCES := $(addprefix broker/ctl/,main.c find.c show.c)

# One program each; a unit test needs no server, a system test starts its own redis-server and lendisd.
UNIT_TESTS := word queue segment wire resp command session config
SYSTEM_TESTS :=
SUPPORT_SOURCES :=

objects = $(patsubst %.c,$(O)/%.o,$(1))
SHARED_OBJECTS := $(call objects,$(SHARED_SOURCES))
CLIENT_OBJECTS := $(call objects,$(CLIENT_SOURCES)) $(SHARED_OBJECTS)
BROKER_OBJECTS := $(call objects,$(BROKER_SOURCES)) $(SHARED_OBJECTS)
CTL_OBJECTS := $(call objects,$(CTL_SOURCES)) $(SHARED_OBJECTS)
SUPPORT_OBJECTS := $(call objects,$(SUPPORT_SOURCES))

UNIT_PROGRAMS := $(UNIT_TESTS:%=$(B)/tests/unit/test_%)
SYSTEM_PROGRAMS := $(SYSTEM_TESTS:%=$(B)/tests/system/test_%)

PROGRAMS := $(B)/lendisd $(B)/lendisctl
LIBRARIES := $(B)/liblendis.a $(B)/liblendis.so

.PHONY: all
all: $(PROGRAMS) $(LIBRARIES) ## build everything that is installed (default)

# ---- rules ----

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/liblendis.a: $(CLIENT_OBJECTS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/liblendis.so.$(VERSION): $(CLIENT_OBJECTS) libclient/liblendis.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,liblendis.so.$(SOVERSION) -Wl,--version-script=libclient/liblendis.map \
		$(if $(FLAVOUR),,-Wl,-z,defs) $(ALL_LDFLAGS) -o $@ $(CLIENT_OBJECTS) $(HIREDIS_LIBS)

$(B)/liblendis.so: $(B)/liblendis.so.$(VERSION)
	$(Q)ln -sf liblendis.so.$(VERSION) $(B)/liblendis.so.$(SOVERSION) && ln -sf liblendis.so.$(VERSION) $@

$(B)/lendisd: $(O)/broker/main.o $(BROKER_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(HIREDIS_LIBS) $(SYSTEMD_LIBS) $(INIH_LIBS)

$(B)/lendisctl: $(CTL_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(SMARTCOLS_LIBS)

$(B)/tests/unit/test_%: $(O)/tests/unit/test_%.o $(SUPPORT_OBJECTS) $(B)/liblendis.a $(filter-out $(SHARED_OBJECTS),$(BROKER_OBJECTS))
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CMOCKA_LIBS) $(HIREDIS_LIBS) $(SYSTEMD_LIBS) $(INIH_LIBS)

$(B)/tests/system/test_%: $(O)/tests/system/test_%.o $(SUPPORT_OBJECTS) $(B)/liblendis.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CMOCKA_LIBS) $(HIREDIS_LIBS)

# ---- for people ----

.PHONY: clean
clean: ## remove build/
	rm -rf build compile_commands.json

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 26

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:
.DELETE_ON_ERROR:
