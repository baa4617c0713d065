# make                build both programs into target/release
# make test           everything that is tested: units, programs, documentation
# make demo           four daemons on this machine, a tree sent to all (no root needed)
# make bench          how fast, beside rsync, udpcast and uftp (root, network namespaces)
# make check          formatting and lints
# make install        programs and manuals below PREFIX (run make first)
# make install-init   the init script and its settings file
# make uninstall      removes what these two have installed
# make dist           a source archive with all that it takes to build without a network
# make rpm, make deb  packages, built from that archive
# make packages-test  builds, compares, installs, starts and removes packages (root)

PREFIX = /usr/local
SBINDIR = $(PREFIX)/sbin
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
SYSCONFDIR = /etc
INITDIR = $(SYSCONFDIR)/init.d
# Red Hat and its kin have the one, Debian and its kin the other; the script reads both.
SETTINGSDIR = $(firstword $(wildcard $(SYSCONFDIR)/sysconfig) $(SYSCONFDIR)/default)
DESTDIR =

CARGO = cargo
CARGOFLAGS = --locked
INSTALL = install
# Of what is installed, not of what is built; ":" for none.
STRIP = strip

# Where cargo puts what it builds.
BUILT = $${CARGO_TARGET_DIR:-target}/release

# The manual pages, by their section.
MAN1 = man/msync.1
MAN7 = man/makuosan-protocol.7
MAN8 = man/makuosan.8
JA1 = man/ja/msync.1
JA8 = man/ja/makuosan.8

all:
	$(CARGO) build --release $(CARGOFLAGS)

# Most of the time the tests of daemons wait: more of them at once than there are cores.
test:
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-6} $(CARGO) test $(CARGOFLAGS)

demo: all
	sh tests/demo.sh "$(BUILT)"

bench: all
	$(CARGO) build --release $(CARGOFLAGS) --examples
	BIN="$(BUILT)" tests/bench.sh

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets $(CARGOFLAGS) -- -D warnings

# Does not build: what root installs need not be compiled by root.
install:
	@test -x "$(BUILT)/makuosan" && test -x "$(BUILT)/msync" || \
		{ echo "nothing is built yet: run make first" >&2; exit 1; }
	$(INSTALL) -d "$(DESTDIR)$(SBINDIR)" "$(DESTDIR)$(BINDIR)"
	$(INSTALL) -d "$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(MANDIR)/man7" "$(DESTDIR)$(MANDIR)/man8"
	$(INSTALL) -d "$(DESTDIR)$(MANDIR)/ja/man1" "$(DESTDIR)$(MANDIR)/ja/man8"
	$(INSTALL) -m 755 "$(BUILT)/makuosan" "$(DESTDIR)$(SBINDIR)"
	$(INSTALL) -m 755 "$(BUILT)/msync" "$(DESTDIR)$(BINDIR)"
	$(STRIP) "$(DESTDIR)$(SBINDIR)/makuosan" "$(DESTDIR)$(BINDIR)/msync"
	$(INSTALL) -m 644 $(MAN1) "$(DESTDIR)$(MANDIR)/man1"
	$(INSTALL) -m 644 $(MAN7) "$(DESTDIR)$(MANDIR)/man7"
	$(INSTALL) -m 644 $(MAN8) "$(DESTDIR)$(MANDIR)/man8"
	$(INSTALL) -m 644 $(JA1) "$(DESTDIR)$(MANDIR)/ja/man1"
	$(INSTALL) -m 644 $(JA8) "$(DESTDIR)$(MANDIR)/ja/man8"

# Settings that are there stay as they are.
install-init:
	$(INSTALL) -d "$(DESTDIR)$(INITDIR)" "$(DESTDIR)$(SETTINGSDIR)"
	sed 's|^DAEMON=.*|DAEMON=$(SBINDIR)/makuosan|' init.d/makuosan >"$(DESTDIR)$(INITDIR)/makuosan"
	chmod 755 "$(DESTDIR)$(INITDIR)/makuosan"
	test -e "$(DESTDIR)$(SETTINGSDIR)/makuosan" || \
		$(INSTALL) -m 644 init.d/makuosan.settings "$(DESTDIR)$(SETTINGSDIR)/makuosan"

# Neither somebody's settings nor the init script of a daemon that is installed elsewhere.
uninstall:
	rm -f "$(DESTDIR)$(SBINDIR)/makuosan" "$(DESTDIR)$(BINDIR)/msync"
	for page in man1/msync.1 man7/makuosan-protocol.7 man8/makuosan.8 ja/man1/msync.1 \
		ja/man8/makuosan.8; do rm -f "$(DESTDIR)$(MANDIR)/$$page"; done
	! grep -qx 'DAEMON=$(SBINDIR)/makuosan' "$(DESTDIR)$(INITDIR)/makuosan" 2>/dev/null || \
		rm -f "$(DESTDIR)$(INITDIR)/makuosan"
	@settings="$(DESTDIR)$(SETTINGSDIR)/makuosan"; \
	if cmp -s init.d/makuosan.settings "$$settings"; then rm -f "$$settings"; \
	elif test -e "$$settings"; then echo "left, as it was changed: $$settings"; fi

# Below the target directory, in packages/.
dist rpm deb:
	rpm/package.sh $@

packages-test:
	tests/packages.sh

clean:
	$(CARGO) clean

.PHONY: all test demo bench check install install-init uninstall dist rpm deb packages-test clean
