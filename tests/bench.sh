#!/bin/bash
# Benchmarks: makuosan beside rsync on the same trees in the same run, between network namespaces
# joined by a bridge (MTU 1500), tmpfs on both ends. One table; every tree is compared.
#
#   tests/bench.sh             all of it (root; about 6 GiB of memory)
#   QUICK=1 tests/bench.sh     smaller sizes
#   ONLY='file small' ...      only these: file small one loss rate
#   BIN=DIR ...                where makuosan and msync are (target/release)
#   N=8 ...                    how many receivers (4)
#   tests/bench.sh big         the cases run by hand: a tree of 100,000 entries and more, with odd ones
#                              and a sparse file of 5 GiB, then a file of 4 GiB, to 3 receivers, with
#                              memory figures; below BIG_DIR (/var/tmp), about 30 GiB of disk
#
# Installs nothing: what is missing is named and skipped. Figures are for comparing within one run:
# the column "idle" says how much of the machine was idle while ours ran (with others at work it is 0
# and the seconds say little; CPU seconds say more).
# rsync runs as a daemon on each receiver, one host after another (1x1) and all at once (par).
# rsync's TCP profits from the veths' 64 KiB segments; the runs marked "mtu" have none for anybody.

here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
cd "$here/.." || exit 1

BIN=${BIN:-target/release}
BIN=$(cd "$BIN" 2>/dev/null && pwd) || die "no $BIN: build first (cargo build --release)"
N=${N:-4}
ONLY=${ONLY:-file small one loss rate}
LIMIT=${LIMIT:-300}     # seconds until a run is given up

for p in makuosan msync; do [ -x "$BIN/$p" ] || die "no $BIN/$p: build first (cargo build --release)"; done
if [ "$(id -u)" != 0 ]; then say "bench: SKIPPED: needs root for network namespaces"; exit 0; fi
for p in ip tc perl awk; do
    have "$p" || { say "bench: SKIPPED: $p is not installed"; exit 0; }
done
RSYNC=yes
have rsync || { RSYNC=; say "rsync is not installed: its columns are left out, trees are compared by diff"; }
IPTABLES=yes
have iptables || { IPTABLES=; say "iptables is not installed: the runs with loss are left out"; }

now() { local t=$EPOCHREALTIME; printf '%s' "${t/[.,]/}"; }       # microseconds
calc() { awk "BEGIN { printf \"$1\", $2 }"; }
ticks=$(getconf CLK_TCK)

# User and system time of a process so far, in seconds.
cpu() { awk -v t="$ticks" '{ sub(/^.*\) /, ""); printf "%.2f", ($12 + $13) / t }' "/proc/$1/stat"; }
hwm() { awk '/^VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
idle() { awk -v t="$ticks" 'NR == 1 { printf "%.2f", $5 / t }' /proc/stat; }
reset_hwm() { local p; for p in "${DAEMONS[@]}"; do echo 5 >"/proc/$p/clear_refs"; done 2>/dev/null; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# same SRC DST: whether the trees are equal, contents and attributes; says what is not on stderr.
same() {
    local out
    if [ "$RSYNC" ]; then
        out=$(rsync -aicn --delete --exclude=/.makuosan "$1/" "$2/" 2>&1 | grep -av '^\.d[^ ]* \./$')
    else
        out=$(diff -rq --no-dereference --exclude=.makuosan "$1" "$2" 2>&1)
    fi
    [ -z "$out" ] && return 0
    say "differs: $1 $2" >&2
    head -n 5 <<<"$out" >&2
    return 1
}
empty_dir() { find "$1" -mindepth 1 -maxdepth 1 ! -name .makuosan -exec rm -rf {} +; }
empty_receivers() {
    local k d
    for ((k = 1; k <= MK_HOSTS; k++)); do
        for d in "$MK_DIR/h$k" "$MK_DIR/r$k"; do [ ! -d "$d" ] || empty_dir "$d"; done
    done
}

start_daemons() {
    local k
    DAEMONS=()
    for ((k = 0; k <= MK_HOSTS; k++)); do
        mkdir -p "$MK_DIR/h$k"
        spawn "$k" "$MK_DIR/log$k" "$BIN/makuosan" -n -b "$MK_DIR/h$k" -i "$(host_addr "$k")" -N "h$k"
        DAEMONS+=("$SPAWNED")
    done
    for ((k = 0; k < 100; k++)); do
        in_host 0 "$BIN/msync" members 2>/dev/null | grep -q "^Total: $MK_HOSTS " && return 0
        sleep 0.05
    done
    cat "$MK_DIR"/log* >&2
    die "the daemons do not find each other"
}

start_rsyncs() {
    local k
    [ "$RSYNC" ] || return 0
    for ((k = 1; k <= MK_HOSTS; k++)); do
        mkdir -p "$MK_DIR/r$k"
        cat >"$MK_DIR/rsyncd$k.conf" <<CONF
uid = root
gid = root
use chroot = no
reverse lookup = no
[m]
path = $MK_DIR/r$k
read only = no
CONF
        spawn "$k" "$MK_DIR/rlog$k" rsync --daemon --no-detach --config="$MK_DIR/rsyncd$k.conf" --address="$(host_addr "$k")"
    done
}

rsync_serial() { local k; for ((k = 1; k <= MK_HOSTS; k++)); do rsync_to "$k" || return 1; done; }
rsync_parallel() {
    local k pids=() bad=0
    for ((k = 1; k <= MK_HOSTS; k++)); do rsync_to "$k" & pids+=($!); done
    for k in "${pids[@]}"; do wait "$k" || bad=1; done
    return $bad
}
rsync_to() { in_host 0 timeout "$LIMIT" rsync -a "$MK_DIR/h0/" --exclude=/.makuosan "rsync://$(host_addr "$1")/m/"; }
ours() { in_host 0 timeout "$LIMIT" "$BIN/msync" -q send -r; }

FORMAT='%-34s %8s %8s %8s %6s %6s %6s %6s %6s %5s | %8s %8s %6s %6s | %s\n'
table_head() {
    # shellcheck disable=SC2059
    {
        printf "$FORMAT" "" ours MB/s files/s "CPU s" "CPU s" wire/ MiB MiB idle "rsync s" "rsync s" ours/ ours/ ""
        printf "$FORMAT" "to $MK_HOSTS receivers" seconds each "" sender recv. data sender recv. % 1x1 par 1x1 par trees
    }
}

# timed FUNCTION: seconds in T, status in RC.
timed() {
    local a b
    a=$(now); "$@"; RC=$?; b=$(now)
    T=$(calc %.4f "($b - $a) / 1e6")
}

# row TITLE BYTES FILES [again|par]: one line of the table. With `again` the receivers keep what they
# have, and the median of 5 runs counts for each; with `par` rsync runs in parallel only.
row() {
    local title=$1 bytes=$2 files=$3 again= k verdict=equal t tser=- tpar=- c0 c1 w0 i0 times i runs=1
    [ "${4:-}" = again ] && again=yes
    [ "$again" ] && runs=5 || empty_receivers
    reset_hwm
    i0=$(idle)
    c0=$(cpu "${DAEMONS[0]}"); c1=$(cpu "${DAEMONS[1]}"); w0=$(tx_bytes 0)
    times=
    for ((i = 0; i < runs; i++)); do
        timed ours; times+="$T "
        [ $RC = 0 ] || verdict="FAILED (exit $RC)"
    done
    t=$(tr ' ' '\n' <<<"${times% }" | median)
    i0=$(calc %.0f "($(idle) - $i0) * 100 / ($t * $runs * $(nproc))")
    c0=$(calc %.2f "($(cpu "${DAEMONS[0]}") - $c0) / $runs"); c1=$(calc %.2f "($(cpu "${DAEMONS[1]}") - $c1) / $runs")
    w0=$(($(tx_bytes 0) - w0))
    for ((k = 1; k <= MK_HOSTS; k++)); do
        same "$MK_DIR/h0" "$MK_DIR/h$k" || verdict="FAILED (h$k differs)"
    done
    if [ "$RSYNC" ]; then
        # The memory of our copies is given back first.
        [ "$again" ] || for ((k = 1; k <= MK_HOSTS; k++)); do empty_dir "$MK_DIR/h$k"; done
        if [ "${4:-}" != par ]; then
            times=
            for ((i = 0; i < runs; i++)); do timed rsync_serial; times+="$T "; [ $RC = 0 ] || verdict+=", rsync FAILED"; done
            tser=$(tr ' ' '\n' <<<"${times% }" | median)
        fi
        [ "$again" ] || for ((k = 1; k <= MK_HOSTS; k++)); do empty_dir "$MK_DIR/r$k"; done
        times=
        for ((i = 0; i < runs; i++)); do timed rsync_parallel; times+="$T "; [ $RC = 0 ] || verdict+=", rsync FAILED"; done
        tpar=$(tr ' ' '\n' <<<"${times% }" | median)
    fi
    # shellcheck disable=SC2059
    printf "$FORMAT" "$title" "$(calc %.3f "$t")" \
        "$([ "$again" ] && echo - || calc %.1f "$bytes / $t / 1e6")" "$([ "$files" -gt 9 ] && calc %.0f "$files / $t" || echo -)" \
        "$c0" "$c1" "$([ "$again" ] && echo - || calc %.3f "$w0 / $bytes")" \
        "$(hwm "${DAEMONS[0]}")" "$(hwm "${DAEMONS[1]}")" "$i0" \
        "$([ "$tser" = - ] && echo - || calc %.3f "$tser")" "$([ "$tpar" = - ] && echo - || calc %.3f "$tpar")" \
        "$([ "$tser" = - ] && echo - || calc %.2f "$tser / $t")" "$([ "$tpar" = - ] && echo - || calc %.2f "$tpar / $t")" "$verdict"
    LAST_T=$t
}

# Puts one file of random bytes at the sender's base; nothing else is there.
source_file() { empty_dir "$MK_DIR/h0"; head -c "$1" /dev/urandom >"$MK_DIR/h0/file"; sleep 0.1; }

# small_files COUNT: files of 200 B to 32 KiB, log-uniform, in 200 directories; prints the bytes.
small_files() {
    empty_dir "$MK_DIR/h0"
    perl -e '
        my ($base, $count) = @ARGV;
        srand 1;
        open my $r, "<", "/dev/urandom" or die; binmode $r; read $r, my $noise, 1 << 20;
        my $total = 0;
        for my $i (0 .. $count - 1) {
            my $d = sprintf "%s/d%03d", $base, $i % 200;
            mkdir $d if $i < 200;
            my $size = int(200 * (32768 / 200) ** rand);
            open my $f, ">", sprintf("%s/f%05d", $d, $i) or die; binmode $f;
            print $f substr($noise, int(rand((1 << 20) - 32768)), $size);
            $total += $size;
        }
        print $total' "$MK_DIR/h0" "$1"
}

# Milliseconds of one run of msync, start to exit, for a file of 4 KiB that is new each time: the
# median of 20. Timed inside the namespace, so that entering it does not count.
one_small_file() {
    local ms verdict=equal k
    source_file 4096
    empty_receivers
    ms=$(in_host 0 bash -c '
        f=$1/file
        for ((i = 0; i < 20; i++)); do
            head -c 4096 /dev/urandom >"$f"
            sleep 0.1
            a=${EPOCHREALTIME/[.,]/}
            "$2" -q send file || exit 1
            b=${EPOCHREALTIME/[.,]/}
            echo $((b - a))
        done' - "$MK_DIR/h0" "$BIN/msync" | median) || verdict=FAILED
    for ((k = 1; k <= MK_HOSTS; k++)); do same "$MK_DIR/h0" "$MK_DIR/h$k" || verdict=FAILED; done
    say "one file of 4 KiB: $(calc %.2f "$ms / 1000") ms, start to exit of msync (median of 20); trees: $verdict"
}

bench() {
    local big=1024 small=10000 lossy=256 slow=64 bytes p
    if [ "${QUICK:-}" ]; then big=128 small=2000 lossy=32 slow=16; fi
    net_up "$N"
    start_daemons
    start_rsyncs
    say "$(uname -sr), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg); $(git log -1 --format=%h 2>/dev/null)"
    table_head
    case " $ONLY " in *" file "*)
        source_file ${big}M
        row "file of $big MiB" $((big << 20)) 1
        set_gso 1
        row "file of $big MiB, mtu" $((big << 20)) 1
        set_gso 65535
    ;; esac
    case " $ONLY " in *" small "*)
        bytes=$(small_files $small)
        row "$small small files" "$bytes" $small
        # Nothing to do: rsync's receivers have theirs, ours were emptied for it.
        ours
        row "the same, nothing to do" "$bytes" $small again
    ;; esac
    case " $ONLY " in *" loss "*) if [ "$IPTABLES" ]; then
        set_gso 1
        source_file ${lossy}M
        for p in 0 1 5; do
            set_loss $p
            # rsync one after another takes minutes at 5 %.
            row "file of $lossy MiB, mtu, loss $p %" $((lossy << 20)) 1 "$([ $p = 5 ] && echo par)"
            say "    a block reaches all $MK_HOSTS after $(theory $p) sends in theory; headers make that $(calc %.3f "$(theory $p) * 1514 / 1424") on the wire"
        done
        set_loss 0
        set_gso 65535
    fi ;; esac
    case " $ONLY " in *" rate "*)
        set_rate 0 100
        source_file ${slow}M
        row "file of $slow MiB, link 100 Mbit/s" $((slow << 20)) 1
        say "    $(calc %.1f "$((slow << 20)) * 8 / $LAST_T / 1e6") Mbit/s of files: $(calc %.0f "$((slow << 20)) * 8 / $LAST_T / 1e6 / (100 * 1424 / 1514) * 100") % of what the link carries in full packets"
        set_rate 0 0
    ;; esac
    case " $ONLY " in *" one "*) one_small_file ;; esac
}

# theory PERCENT: how often a block is sent, in the mean, until each of the receivers has it:
# the sum over k >= 0 of the chance that k sends were not enough for all.
theory() {
    awk -v p="$1" -v n="$MK_HOSTS" 'BEGIN { p /= 100; q = 1; s = 1; for (k = 1; k < 60; k++) { q *= p; s += 1 - (1 - q) ^ n } printf "%.4f", s }'
}

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
    reset_hwm
    w0=$(tx_bytes 0); c0=$(cpu "${DAEMONS[0]}"); c1=$(cpu "${DAEMONS[1]}")
    timed big_run
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
        same "$MK_DIR/h0" "$MK_DIR/h$k" || verdict=FAILED
        [ -z "$(ls -A "$MK_DIR/h$k/.makuosan")" ] || verdict="FAILED (h$k: leftovers)"
    done
    say "    trees, by rsync -aic --dry-run --delete: $verdict"
}

big() {
    local k d
    N=3
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

case ${1:-} in
    '') bench ;;
    big) big ;;
    *) die "usage: $0 [big]" ;;
esac
