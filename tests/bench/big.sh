# shellcheck shell=bash disable=SC2034
# The cases of the benchmark that are run by hand: a tree of 100,000 entries and more, with odd ones and
# a sparse file of 5 GiB, then a file of 4 GiB, to 3 receivers, with memory figures; below BIG_DIR
# (/var/tmp), about 30 GiB of disk. To be read by bench.sh.

# Odd entries below a directory: kinds, rights, owners and names that are rarely seen.
odd_entries() {
    mkdir -p "$1"
    perl -e '
        chdir $ARGV[0] or die;
        sub put { my ($name, $bytes) = @_; open my $f, ">", "./$name" or die "$name: $!"; print $f $bytes; close $f }
        put("empty", "");
        put("new\nline", "1"); put(" spaces  at ends ", "2"); put("-n", "3"); put("--", "4"); put("quote\"back\\slash", "5");
        put("bytes\xff\xfe\x80", "6"); put("x" x 255, "7"); put("tab\tbell\a", "8");
        my $deep = "deep"; mkdir $deep;
        for (1 .. 11) { $deep .= "/" . ("y" x 250); mkdir $deep or die $! }
        put("$deep/" . ("z" x (2999 - length $deep)), "9");
        symlink "nowhere at all", "dangling"; symlink "/etc/hostname", "absolute"; symlink "deep", "to a directory";
        symlink "l" x 4000, "long target";
        system "mkfifo", "fifo", "fifo 2";
        put("setuid", "#!"); chown 1234, 1234, "setuid"; chmod 04755, "setuid";
        put("setgid", "#!"); chown 0, 1234, "setgid"; chmod 02755, "setgid";
        put("owner", "x"); chown 70000, 4000000000, "owner";
        mkdir "sticky"; chmod 01777, "sticky"; mkdir "empty directory";
        mkdir "read-only"; put("read-only/inside", "x"); mkdir "read-only/below"; chmod 0555, "read-only/below"; chmod 0555, "read-only";
        put("no rights", "x"); chmod 0, "no rights";
        put("old", "x"); utime 0, 0, "old"; put("future", "x"); utime 4e9, 4e9, "future";
    ' "$1"
}

# big_send TITLE: one send of everything, with its figures; compares by contents.
big_send() {
    local k out w0 c0 c1
    for k in "${DAEMONS[@]}"; do echo 5 >"/proc/$k/clear_refs"; done 2>/dev/null
    w0=$(tx_bytes 0); c0=$(cpu "${DAEMONS[0]}"); c1=$(cpu "${DAEMONS[1]}")
    T=$(now); big_run; RC=$?; T=$(calc %.4f "($(now) - $T) / 1e6")
    say "$1: $(calc %.2f "$T") s, exit $RC, $(($(tx_bytes 0) - w0)) bytes on the sender's wire; CPU s: sender $(calc %.2f "$(cpu "${DAEMONS[0]}") - $c0"), receiver $(calc %.2f "$(cpu "${DAEMONS[1]}") - $c1")"
    # Without the progress, each of which the next has overwritten.
    sed $'s/^.*\033\\[K//; s/^/    /' "$MK_DIR/said" | tr -d '\r' | tail -n 5
    out=
    for ((k = 0; k <= MK_HOSTS; k++)); do out+=" h$k $(hwm "${DAEMONS[k]}")"; done
    say "    most resident memory, MiB:$out"
}
big_run() { in_host 0 "$BIN/msync" --progress send -r >"$MK_DIR/said" 2>&1; }

big_compare() {
    local k verdict=equal
    for ((k = 1; k <= MK_HOSTS; k++)); do
        same full "$MK_DIR/h0" "$MK_DIR/h$k" || verdict=FAILED
        [ -z "$(ls -A -I made-by-makuosan "$MK_DIR/h$k/.makuosan")" ] || verdict="FAILED (h$k: leftovers)"
    done
    say "    trees, by equal.pl and rsync -ai --dry-run --delete: $verdict"
}

big() {
    local k d
    LIMIT=3600
    [ "$RSYNC" ] || die "needs rsync, to build and to compare"
    net_up 3 "${BIG_DIR:-/var/tmp}/$MK_TAG"
    start_daemons
    for d in /usr/share /usr/lib "${CARGO_HOME:-$HOME/.cargo}/registry/src"; do
        # Files over 2 MiB only cost time here; the large ones have their own cases.
        [ -d "$d" ] && rsync -aR --max-size=2m "$d" "$MK_DIR/h0/"
    done
    odd_entries "$MK_DIR/h0/odd"
    truncate -s 5G "$MK_DIR/h0/sparse"
    for k in 0 1000000 5242872; do    # the last 8 KiB too
        dd if=/dev/urandom of="$MK_DIR/h0/sparse" bs=1k seek="$k" count=8 conv=notrunc status=none
    done
    sync
    say "$(find "$MK_DIR/h0" -mindepth 1 ! -path "$MK_DIR/h0/.makuosan*" | wc -l) entries, $(du -sm "$MK_DIR/h0" | cut -f1) MiB on the disk, to $MK_HOSTS receivers"
    big_send "first send"
    for ((k = 1; k <= MK_HOSTS; k++)); do say "    h$k: the sparse file takes $(du -k "$MK_DIR/h$k/sparse" | cut -f1) KiB"; done
    big_compare
    big_send "second send"
    big_send "third send"
    empty_dir "$MK_DIR/h0"
    empty_receivers
    head -c 4G /dev/urandom >"$MK_DIR/h0/file"
    big_send "file of 4 GiB"
    big_compare
}
