#!/usr/bin/env bash
# Packages: the same bytes from two builds at two places; sound by lintian and rpmlint; installed,
# started and removed in a copy of this system that goes afterwards. Takes two builds.
#
# What this machine has no program for is skipped, with a line.
#
# The shell code in quotes is for other shells.
# shellcheck disable=SC2016
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
umask 022

WORK=$(mktemp -d /var/tmp/makuosan-packages.XXXXXX)
trap 'rm -rf "$WORK"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)
export SOURCE_DATE_EPOCH
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

# What is tested stays what it is while somebody works on it.
mkdir "$WORK/src"
tar -c --exclude=./target --exclude=./tests/fuzz/target --exclude=./.git . | tar -x -C "$WORK/src"
cd "$WORK/src"

say() { printf '%s\n' "$*"; }
die() { printf 'packages.sh: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
skip() { say "SKIPPED: $*"; }
# same FILE FILE
same() { cmp "$1" "$2" || die "two builds differ: $1 $2"; }
# files DIRECTORY: every file below it, as a sorted list.
files() { (cd "$1" && find . ! -type d | sort); }

# build KIND OUT TARGET: and what it says only if it fails.
build() {
    OUT=$2 PACKAGE_TARGET_DIR=$3 rpm/package.sh "$1" >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; die "no $1"; }
}

# Twice, the second time in another environment; nothing is compiled again then.
twice() {
    build "$1" "$2" "$3"
    mkdir "$2/first"
    mv "$2"/makuosan* "$2/first"
    (
        export TZ=Asia/Tokyo LANG=ja_JP.UTF-8
        umask 077
        build "$1" "$2" "$3"
    )
    local file
    for file in "$2"/first/*; do same "$file" "$2/${file##*/}"; done
}

installed() {
    say "make install, install-init, uninstall"
    local dest=$WORK/dest make=(make -s DESTDIR="$WORK/dest" PREFIX=/opt/m SETTINGSDIR=/etc/default)
    export CARGO_TARGET_DIR=$1
    "${make[@]}" install install-init
    files "$dest" >"$WORK/list"
    diff - "$WORK/list" <<END || die "other files than expected"
./etc/default/makuosan
./etc/init.d/makuosan
./opt/m/bin/msync
./opt/m/sbin/makuosan
./opt/m/share/man/ja/man1/msync.1
./opt/m/share/man/ja/man8/makuosan.8
./opt/m/share/man/man1/msync.1
./opt/m/share/man/man7/makuosan-protocol.7
./opt/m/share/man/man8/makuosan.8
END
    local program
    for program in "$dest"/opt/m/sbin/makuosan "$dest"/opt/m/bin/msync; do
        ! have nm || [ -z "$(nm "$program" 2>/dev/null)" ] || die "$program has symbols"
        "$program" --version >/dev/null || die "$program does not run"
    done
    grep -qx DAEMON=/opt/m/sbin/makuosan "$dest/etc/init.d/makuosan" || die "the script has another daemon"
    touch "$dest/opt/m/bin/other"
    "${make[@]}" uninstall
    [ "$(files "$dest")" = ./opt/m/bin/other ] || die "left: $(files "$dest")"
    # Somebody's settings are neither overwritten nor removed.
    echo 'BASE_DIR=/srv' >"$dest/etc/default/makuosan"
    "${make[@]}" install install-init uninstall >/dev/null
    grep -qx 'BASE_DIR=/srv' "$dest/etc/default/makuosan" || die "settings are gone"
    unset CARGO_TARGET_DIR
}

# in_copy SCRIPT ARGUMENT...: runs it as root of a copy of this system, with a network and processes
# of its own; $WORK is there too, to read. Nothing of what it does stays.
in_copy() {
    local script=$1
    shift
    unshare -m -n -p -u -i --fork --kill-child --mount-proc sh -euc '
        mount -t tmpfs tmpfs "$1/copy"
        mkdir "$1/copy/upper" "$1/copy/work" "$1/copy/root"
        cd "$1/copy"
        mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
        mkdir -p root/packages
        mount --bind "$1/out" root/packages
        mount -t proc proc root/proc
        mount --rbind /dev root/dev
        mount -t tmpfs tmpfs root/run
        mount -t tmpfs tmpfs root/tmp
        mkdir root/run/lock
        # Services are started, as on a server.
        rm -f root/usr/sbin/policy-rc.d
        ip link set lo up
        shift
        exec chroot root sh -euc "$@"' sh "$WORK" "$script" sh "$@"
}

can_copy() {
    [ "$(id -u)" -eq 0 ] && have unshare && have ip && mkdir -p "$WORK/copy" "$WORK/out" &&
        in_copy 'test -d /packages' 2>/dev/null
}

# What the copies have in common.
COMMON='
die() { echo "packages.sh: $*" >&2; exit 1; }
# is STATUS COMMAND...
is() { want=$1; shift; got=0; "$@" >/tmp/said 2>&1 || got=$?; [ "$got" -eq "$want" ] || die "status $got, not $want: $*: $(cat /tmp/said)"; }
list() { find / -xdev ! -type d | grep -Ev "^/(packages|var/(lib|log|cache)|etc/rc.\.d|root)/" | sort; }
'

DEB=$COMMON'
# As on a server, at runlevel 2: at none, nothing is started.
printf "#!/bin/sh\necho N 2\n" >/sbin/runlevel
chmod 755 /sbin/runlevel
list >/tmp/before
export DEBIAN_FRONTEND=noninteractive
dpkg -i "$1" 2>&1 | grep "is not started: it needs a base directory" >/dev/null || die "no word of a base directory"
is 3 /etc/init.d/makuosan status
is 6 /etc/init.d/makuosan start
is 0 test -e /usr/share/man/ja/man8/makuosan.8.gz
ls /etc/rc3.d | grep -q "^S..makuosan$" || die "it does not start at boot"
! command -v systemd-analyze >/dev/null || {
    cp /usr/share/doc/makuosan/examples/makuosan.service /etc/systemd/system
    mkdir -p /srv/www
    said=$(systemd-analyze verify /etc/systemd/system/makuosan.service 2>&1) || die "the unit: $said"
    [ -z "$said" ] || die "the unit: $said"
    rm /etc/systemd/system/makuosan.service
}
mkdir /run/base
printf "BASE_DIR=/run/base\nINTERFACE=127.0.0.2\nIP_ADDRESS=127.0.0.1\nMAKUOSAN_USER=nobody\n" >>/etc/default/makuosan
chown nobody /run/base
is 0 /etc/init.d/makuosan start
is 0 /etc/init.d/makuosan status
msync members | grep -qx "Total: 0 members" || die "it does not answer"
first=$(cat /run/makuosan.pid)
# An update: stopped and started again, with the same settings.
dpkg -i --force-confold "$1" >/dev/null
is 0 /etc/init.d/makuosan status
[ "$(cat /run/makuosan.pid)" != "$first" ] || die "still the old one"
msync status | grep -q "^basedir : /run/base/" || die "other settings"
# Settings that will not do are no reason not to be installed, nor not to be removed.
mv /run/base /run/other
is 0 dpkg -i --force-confold "$1"
grep -q "did not start" /tmp/said || die "no word of a start that failed: $(cat /tmp/said)"
is 0 dpkg -s makuosan
grep -qx "Status: install ok installed" /tmp/said || die "$(cat /tmp/said)"
is 3 /etc/init.d/makuosan status
mv /run/other /run/base
is 0 /etc/init.d/makuosan start
echo if >>/etc/default/makuosan
is 0 /etc/init.d/makuosan status
is 0 dpkg -r makuosan
! pidof makuosan || die "it still runs"
sed -i "\$d" /etc/default/makuosan
test ! -e /proc/"$(cat /run/makuosan.pid 2>/dev/null || echo none)" || die "it still runs"
test ! -e /run/makuosan.pid || die "the pid file is left"
grep -q /run/base /etc/default/makuosan || die "the settings are gone"
dpkg -P makuosan >/dev/null
! ls /etc/rc?.d | grep makuosan || die "still started at boot"
list >/tmp/after
diff /tmp/before /tmp/after || die "not as it was"
'

RPM=$COMMON'
list >/tmp/before
mkdir /tmp/db
# rpm as on Red Hat, once without chkconfig and once with something that writes down how it is called.
rpm() { command rpm --force-debian --dbpath /tmp/db "$@"; }
for chkconfig in without with; do
    if [ "$chkconfig" = with ]; then
        printf "#!/bin/sh\necho \"\$*\" >>/tmp/called\n" >/sbin/chkconfig
        chmod 755 /sbin/chkconfig
    fi
    rpm -i --nodeps "$1"
    for file in /etc/sysconfig/makuosan /etc/rc.d/init.d/makuosan /usr/share/man/ja/man1/msync.1.gz; do
        test -e "$file" || die "no $file"
    done
    is 3 /etc/rc.d/init.d/makuosan status
    mkdir -p /run/base
    printf "BASE_DIR=/run/base\nINTERFACE=127.0.0.2\nIP_ADDRESS=127.0.0.1\n" >>/etc/sysconfig/makuosan
    is 0 /etc/rc.d/init.d/makuosan start
    msync members | grep -qx "Total: 0 members" || die "it does not answer"
    first=$(cat /run/makuosan.pid)
    # An update: started again.
    rpm -U --nodeps --force "$1"
    is 0 /etc/rc.d/init.d/makuosan status
    grep -q /run/base /etc/sysconfig/makuosan || die "the settings are gone"
    [ "$(cat /run/makuosan.pid)" != "$first" ] || die "still the old one"
    rpm -e makuosan
    is 1 test -e /run/makuosan.pid
    is 1 test -e /usr/sbin/makuosan
    rm -f /etc/sysconfig/makuosan.rpmsave
done
[ "$(sort -u /tmp/called | tr "\n" ,)" = "--add makuosan,--del makuosan," ] || die "chkconfig was not asked"
rm /sbin/chkconfig
list >/tmp/after
diff /tmp/before /tmp/after || die "not as it was"
'

have shellcheck && shellcheck rpm/package.sh tests/packages.sh rpm/debian/postinst rpm/debian/prerm rpm/debian/postrm

have cargo || die "no cargo"
a=$WORK/a
b=$WORK/another/place
mkdir -p "$WORK/out" "$WORK/copy"
deb=
rpm=
if have dpkg-deb && have objdump; then
    say "make deb, twice"
    twice deb "$a" "$WORK/ta"
    deb=$(echo "$a"/*.deb)
    dpkg-deb -x "$deb" "$WORK/debroot"
    installed "$WORK/ta"
    if have lintian; then lintian --allow-root --fail-on error "$deb"; else skip "no lintian"; fi
else
    skip "Debian's package: no dpkg-deb or no objdump"
fi
if have rpmbuild; then
    say "make rpm, twice"
    twice rpm "$b" "$WORK/tb"
    rpm=$(echo "$b/makuosan-$VERSION"-1*."$(uname -m)".rpm)
    mkdir "$WORK/rpmroot"
    (cd "$WORK/rpmroot" && rpm2archive - <"$rpm" | tar -xz)
    for program in sbin/makuosan bin/msync; do
        said=$("$WORK/rpmroot/usr/$program" --version)
        [ "$said" = "${program#*/} $VERSION" ] || die "$program: $said"
    done
    if have rpmlint; then
        # A signature is for whoever distributes it.
        ! rpmlint "$b"/*.rpm | grep ' E: ' | grep -v ' no-signature$' || die "rpmlint has errors"
    else
        skip "no rpmlint"
    fi
else
    skip "Red Hat's package: no rpmbuild"
fi
if [ -n "$deb" ] && [ -n "$rpm" ]; then
    say "the same programs from both"
    for program in sbin/makuosan bin/msync; do
        same "$WORK/debroot/usr/$program" "$WORK/rpmroot/usr/$program"
    done
    same "$a/makuosan-$VERSION.tar.gz" "$b/makuosan-$VERSION.tar.gz"
fi
if can_copy; then
    [ -z "$deb" ] || { say "installed by dpkg"; cp "$deb" "$WORK/out"; in_copy "$DEB" "/packages/${deb##*/}"; }
    [ -z "$rpm" ] || { say "installed by rpm"; cp "$rpm" "$WORK/out"; in_copy "$RPM" "/packages/${rpm##*/}"; }
else
    skip "installing packages: that needs root, unshare, ip and overlayfs"
fi
say "packages: all well"
