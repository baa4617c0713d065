#!/bin/bash
# Benchmarks: makuosan beside rsync on the same trees in the same run, between network namespaces
# joined by a bridge (MTU 1500), tmpfs on both ends. One table; every tree is compared.
#
#   tests/bench.sh             all of it (root; about 6 GiB of memory)
#   QUICK=1 tests/bench.sh     smaller sizes
#   ONLY='file small' ...      only these: file small one loss rate
#   BIN=DIR ...                where makuosan and msync are (target/release)
#   N=8 ...                    how many receivers (4)
#   tests/bench.sh big         the cases run by hand: a sparse file of 5 GiB, a file of 4 GiB, a tree
#                              of 100,000 entries and more, to 3 receivers, with memory figures
#
# Installs nothing: what is missing is named and skipped. Figures are for comparing within one run.
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
empty_receivers() { local k; for ((k = 1; k <= MK_HOSTS; k++)); do empty_dir "$MK_DIR/h$k"; empty_dir "$MK_DIR/r$k"; done; }

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

FORMAT='%-34s %8s %8s %8s %6s %6s %6s %6s %6s | %8s %8s %6s %6s | %s\n'
table_head() {
    # shellcheck disable=SC2059
    {
        printf "$FORMAT" "" ours MB/s files/s "CPU s" "CPU s" wire/ "MiB" "MiB" "rsync s" "rsync s" ours/ ours/ ""
        printf "$FORMAT" "to $MK_HOSTS receivers" seconds each "" sender recv. data sender recv. 1x1 par 1x1 par trees
    }
}

# timed FUNCTION: seconds in T, status in RC.
timed() {
    local a b
    a=$(now); "$@"; RC=$?; b=$(now)
    T=$(calc %.4f "($b - $a) / 1e6")
}

# row TITLE BYTES FILES [again]: one line of the table. With `again` the receivers keep what they have,
# and the best of 5 runs counts for each.
row() {
    local title=$1 bytes=$2 files=$3 again=${4:-} k verdict=equal t tser=- tpar=- c0 c1 w0 times i runs=1
    [ "$again" ] && runs=5 || empty_receivers
    reset_hwm
    c0=$(cpu "${DAEMONS[0]}"); c1=$(cpu "${DAEMONS[1]}"); w0=$(tx_bytes 0)
    times=
    for ((i = 0; i < runs; i++)); do
        timed ours; times+="$T "
        [ $RC = 0 ] || verdict="FAILED (exit $RC)"
    done
    t=$(tr ' ' '\n' <<<"${times% }" | median)
    c0=$(calc %.2f "($(cpu "${DAEMONS[0]}") - $c0) / $runs"); c1=$(calc %.2f "($(cpu "${DAEMONS[1]}") - $c1) / $runs")
    w0=$(($(tx_bytes 0) - w0))
    for ((k = 1; k <= MK_HOSTS; k++)); do
        same "$MK_DIR/h0" "$MK_DIR/h$k" || verdict="FAILED (h$k differs)"
    done
    if [ "$RSYNC" ]; then
        # The memory of our copies is given back first.
        [ "$again" ] || for ((k = 1; k <= MK_HOSTS; k++)); do empty_dir "$MK_DIR/h$k"; done
        times=
        for ((i = 0; i < runs; i++)); do timed rsync_serial; times+="$T "; [ $RC = 0 ] || verdict+=", rsync FAILED"; done
        tser=$(tr ' ' '\n' <<<"${times% }" | median)
        [ "$again" ] || for ((k = 1; k <= MK_HOSTS; k++)); do empty_dir "$MK_DIR/r$k"; done
        times=
        for ((i = 0; i < runs; i++)); do timed rsync_parallel; times+="$T "; [ $RC = 0 ] || verdict+=", rsync FAILED"; done
        tpar=$(tr ' ' '\n' <<<"${times% }" | median)
    fi
    # shellcheck disable=SC2059
    printf "$FORMAT" "$title" "$(calc %.3f "$t")" \
        "$([ "$again" ] && echo - || calc %.1f "$bytes / $t / 1e6")" "$([ "$files" -gt 9 ] && calc %.0f "$files / $t" || echo -)" \
        "$c0" "$c1" "$([ "$again" ] && echo - || calc %.3f "$w0 / $bytes")" \
        "$(hwm "${DAEMONS[0]}")" "$(hwm "${DAEMONS[1]}")" \
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
            row "file of $lossy MiB, mtu, loss $p %" $((lossy << 20)) 1
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

case ${1:-} in
    '') bench ;;
    big) . "$here/bench_big.sh"; big ;;
    *) die "usage: $0 [big]" ;;
esac
