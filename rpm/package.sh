#!/bin/sh
# Makes packages: `package.sh dist`, a source archive with every crate in it; `package.sh rpm` and
# `package.sh deb`, which are built from that archive, without a network.
#
# They end in $OUT (target/packages). The same sources give the same bytes, wherever they are built:
# all times are SOURCE_DATE_EPOCH, by default that of the last commit, or of Cargo.toml.
set -eu
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C TZ=UTC

OUT=${OUT:-${CARGO_TARGET_DIR:-target}/packages}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
NAME=makuosan-$VERSION
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null ||
    stat -c %Y Cargo.toml)}
export SOURCE_DATE_EPOCH

# need COMMAND PACKAGE
need() {
    command -v "$1" >/dev/null || { echo "package.sh: $1 is missing; Debian has it in $2" >&2; exit 1; }
}

# settle DIRECTORY: what is not content is the same everywhere.
settle() {
    chmod -R u=rwX,go=rX "$1"
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

dist() {
    rm -rf "$OUT/dist"
    mkdir -p "$OUT/dist/$NAME/.cargo"
    tar -c --exclude=./tests/fuzz/target ./.ci ./Cargo.toml ./Cargo.lock ./LICENSE-* ./Makefile \
        ./README.md ./CHANGELOG.md ./CONTRIBUTING.md ./SECURITY.md ./clippy.toml \
        ./rustfmt.toml ./doc ./init.d ./man ./rpm ./src ./tests |
        tar -x -C "$OUT/dist/$NAME"
    # What cargo has fetched before needs no network.
    (
        cd "$OUT/dist/$NAME"
        cargo vendor -q --locked --offline vendor >.cargo/config.toml 2>/dev/null ||
            cargo vendor -q --locked vendor >.cargo/config.toml
    )
    settle "$OUT/dist/$NAME"
    (cd "$OUT/dist" && tar -c --sort=name --format=gnu --owner=0 --group=0 --numeric-owner "$NAME") |
        gzip -9n >"$OUT/$NAME.tar.gz"
    rm -rf "$OUT/dist"
    echo "$OUT/$NAME.tar.gz"
}

rpm() {
    need rpmbuild rpm
    dist
    top=$OUT/rpmbuild
    rm -rf "$top"
    mkdir -p "$top/SOURCES"
    cp "$OUT/$NAME.tar.gz" "$top/SOURCES"
    # Cargo and make need not come from packages.
    rpmbuild -ba --nodeps --quiet --define "_topdir $top" --define '_buildhost localhost' \
        --define 'use_source_date_epoch_as_buildtime 1' \
        --define 'clamp_mtime_to_source_date_epoch 1' rpm/makuosan.spec
    find "$top/RPMS" "$top/SRPMS" -name '*.rpm' -exec mv {} "$OUT" \;
    rm -rf "$top"
    ls "$OUT"/"$NAME"-*.rpm
}

# The newest version of the C library that the programs need symbols of.
libc_version() {
    objdump -T "$@" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -V | tail -n 1
}

deb() {
    need dpkg-deb dpkg
    need objdump binutils
    dist
    top=$OUT/debbuild
    rm -rf "$top"
    mkdir -p "$top/root/DEBIAN"
    tar -xzf "$OUT/$NAME.tar.gz" -C "$top"
    root=$top/root
    doc=$root/usr/share/doc/makuosan
    (
        cd "$top/$NAME"
        export RUSTFLAGS="--remap-path-prefix=$PWD=/usr/src/$NAME"
        export CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_TARGET_DIR="${PACKAGE_TARGET_DIR:-$PWD/target}"
        make CARGOFLAGS=--frozen
        make install install-init DESTDIR="$root" PREFIX=/usr SETTINGSDIR=/etc/default >/dev/null
        mkdir -p "$doc/examples"
        cp README.md CHANGELOG.md SECURITY.md "$doc"
        cp rpm/makuosan.service "$doc/examples"
        cp rpm/debian/copyright "$doc"
        cp rpm/debian/changelog "$doc"
    )
    gzip -9n "$doc/changelog" "$doc"/*.md
    find "$root/usr/share/man" -type f -exec gzip -9n {} +
    arch=$(dpkg --print-architecture)
    for file in conffiles postinst prerm postrm; do
        cp "rpm/debian/$file" "$root/DEBIAN"
    done
    size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f 1)
    libc=$(libc_version "$root/usr/sbin/makuosan" "$root/usr/bin/msync")
    sed -e "s/@VERSION@/$VERSION/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" -e "s/@LIBC@/$libc/" \
        rpm/debian/control >"$root/DEBIAN/control"
    (cd "$root" && find usr -type f | sort | xargs md5sum) >"$root/DEBIAN/md5sums"
    settle "$root"
    chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm" \
        "$root/etc/init.d/makuosan" "$root/usr/sbin/makuosan" "$root/usr/bin/msync"
    dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$root" \
        "$OUT/makuosan_${VERSION}_$arch.deb" >/dev/null
    rm -rf "$top"
    echo "$OUT/makuosan_${VERSION}_$arch.deb"
}

case ${1-} in
    dist | rpm | deb) "$1" ;;
    *)
        echo "Usage: $0 {dist|rpm|deb}" >&2
        exit 1
        ;;
esac
