# make            build both programs into target/release
# make test       everything that is tested: units, programs, documentation
# make demo       four daemons on this machine, a tree sent to all (no root needed)
# make bench      how fast, beside rsync (root, for network namespaces)
# make check      formatting and lints
# make install    programs and manuals below PREFIX (run make first)

PREFIX = /usr/local
SBINDIR = $(PREFIX)/sbin
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
DESTDIR =

CARGO = cargo
CARGOFLAGS = --locked
INSTALL = install

# Where cargo puts what it builds.
BUILT = $${CARGO_TARGET_DIR:-target}/release

all:
	$(CARGO) build --release $(CARGOFLAGS)

# Most of the time the tests of daemons wait: more of them at once than there are cores.
test:
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-6} $(CARGO) test $(CARGOFLAGS)

demo: all
	sh tests/demo.sh "$(BUILT)"

bench: all
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
	$(INSTALL) -m 755 "$(BUILT)/makuosan" "$(DESTDIR)$(SBINDIR)/makuosan"
	$(INSTALL) -m 755 "$(BUILT)/msync" "$(DESTDIR)$(BINDIR)/msync"
	$(INSTALL) -m 644 man/msync.1 "$(DESTDIR)$(MANDIR)/man1/msync.1"
	$(INSTALL) -m 644 man/makuosan-protocol.7 "$(DESTDIR)$(MANDIR)/man7/makuosan-protocol.7"
	$(INSTALL) -m 644 man/makuosan.8 "$(DESTDIR)$(MANDIR)/man8/makuosan.8"

uninstall:
	rm -f "$(DESTDIR)$(SBINDIR)/makuosan" "$(DESTDIR)$(BINDIR)/msync"
	rm -f "$(DESTDIR)$(MANDIR)/man1/msync.1" "$(DESTDIR)$(MANDIR)/man7/makuosan-protocol.7"
	rm -f "$(DESTDIR)$(MANDIR)/man8/makuosan.8"

clean:
	$(CARGO) clean

.PHONY: all test demo bench check install uninstall clean
