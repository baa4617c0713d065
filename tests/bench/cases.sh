# shellcheck shell=bash disable=SC2016,SC2034
# The works of the benchmark. To be read by bench.sh.

# fill HOST PATH MIB: one file of random bytes.
fill() { mkdir -p "$(dirname "$MK_DIR/h$1/$2")"; head -c "${3}M" /dev/urandom >"$MK_DIR/h$1/$2"; }

# source_file MIB: one file at the sender's base; nothing else is there. One of that size may stay.
source_file() {
    local size=$(($1 << 20))
    if [ "$(find "$MK_DIR/h0" -mindepth 1 ! -path "$MK_DIR/h0/.makuosan*" 2>/dev/null | wc -l)" = 1 ] && [ "$(stat -c %s "$MK_DIR/h0/file" 2>/dev/null)" = $size ]; then return; fi
    mkdir -p "$MK_DIR/h0"
    empty_dir "$MK_DIR/h0"
    fill 0 file "$1"
    sleep 0.1
}

# source_files COUNT: so many files of 1 MiB.
source_files() {
    local i
    empty_dir "$MK_DIR/h0"
    for ((i = 0; i < $1; i++)); do fill 0 "f$i" 1; done
    sleep 0.1
}

# small_files COUNT: files of 200 B to 32 KiB, log-uniform, in 200 directories; the bytes are in BYTES.
small_files() {
    empty_dir "$MK_DIR/h0"
    BYTES=$(perl -e '
        my ($base, $count) = @ARGV;
        srand 1;
        open my $r, "<", "/dev/urandom" or die; binmode $r; read $r, my $noise, 1 << 20;
        my $total = 0;
        for my $i (0 .. $count - 1) {
            my $d = sprintf "%s/d%03d", $base, $i % 200;
            mkdir $d if $i < 200;
            my $size = int(200 * (32768 / 200) ** rand);
            open my $f, ">", sprintf("%s/f%06d", $d, $i) or die; binmode $f;
            print $f substr($noise, int(rand((1 << 20) - 32768)), $size);
            $total += $size;
        }
        print $total' "$MK_DIR/h0" "$1")
    sleep 0.1
}

# The same net with another number of receivers; the sender's files stay.
hosts() {
    local k
    hosts_down
    for ((k = 1; k <= 9; k++)); do
        dirs_down "$MK_DIR/h$k"
        rm -rf "${MK_DIR:?}/h$k"
    done
    hosts_up "$1"
    start_daemons
}

# warm_up MIB: gives each receiver so much memory once. A virtual machine's memory may be slow the first
# time; nobody is to be measured by that.
warm_up() {
    local k
    for ((k = 1; k <= MK_HOSTS; k++)); do head -c "${1}M" /dev/zero >"$MK_DIR/h$k/warm"; done
    empty_receivers
    sleep 0.5
}

# theory PERCENT: how often a block is sent, in the mean, until each of the receivers has it:
# the sum over k >= 0 of the chance that k sends were not enough for all.
theory() {
    awk -v p="$1" -v n="$MK_HOSTS" 'BEGIN { p /= 100; q = 1; s = 1; for (k = 1; k < 60; k++) { q *= p; s += 1 - (1 - q) ^ n } printf "%.4f", s }'
}

RSYNCS='rsync_1x1 rsync_par'
CASTS='udpcast uftp'

case_file() {
    local n
    for n in 1 8 4; do
        [ "$n" = 4 ] || { enough $((n + 1)) "$BIG" || continue; }
        [ "$MK_HOSTS" = "$n" ] || hosts "$n"
        source_file "$BIG"
        warm_up "$BIG"
        # To one receiver there is one rsync.
        # shellcheck disable=SC2046,SC2086
        work "file of $BIG MiB to $n" $((BIG << 20)) 1 1 ours $([ $n = 1 ] || echo rsync_1x1) rsync_par $CASTS limit
    done
    set_gso 1
    # shellcheck disable=SC2086
    work "file of $BIG MiB to 4, gso 1" $((BIG << 20)) 1 1 ours $RSYNCS $CASTS limit
    set_gso 65535
}

# enough COPIES MIB: whether there is memory for so many; says what is left out.
enough() {
    local have
    have=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    [ "$have" -gt $(($1 * $2 + 1024)) ] && return 0
    say "file of $2 MiB to $(($1 - 1)): SKIPPED: $have MiB of memory are not enough"
    return 1
}

case_files() {
    source_files "$COUNT"
    # shellcheck disable=SC2086
    work "$COUNT files of 1 MiB to 4" $((COUNT << 20)) "$COUNT" 1 ours $RSYNCS $CASTS
    # The limit knows one file only.
    local ours=${BEST[ours.t]}
    available limit || return 0
    source_file "$COUNT"
    work "one file of $COUNT MiB to 4" $((COUNT << 20)) 1 1 ours limit
    say "    the $COUNT files: $(calc %.0f "100 * ${BEST[limit.t]} / $ours") % of the limit's rate for one file of their size"
}

# link_share MBIT BYTES: how much of what the link carries in full packets were files.
link_share() { say "    ours: $(calc %.1f "$2 * 8 / ${BEST[ours.t]} / 1e6") Mbit/s of files: $(calc %.1f "$2 * 8 / ${BEST[ours.t]} / 1e6 / ($1 * 1424 / 1514) * 100") % of what the link carries in full packets"; }

# rsync one after another takes as long as in parallel when the link is what is short.
case_rate() {
    LINK=1000
    set_rate 0 $LINK
    source_file "$BIG"
    # shellcheck disable=SC2086
    work "file of $BIG MiB to 4, link 1 Gbit/s" $((BIG << 20)) 1 1 ours rsync_par $CASTS
    link_share $LINK $((BIG << 20))
    source_files "$COUNT"
    # shellcheck disable=SC2086
    work "$COUNT files of 1 MiB, link 1 Gbit/s" $((COUNT << 20)) "$COUNT" 1 ours rsync_par $CASTS
    link_share $LINK $((COUNT << 20))
    LINK=100
    set_rate 0 $LINK
    source_file "$SLOW"
    # shellcheck disable=SC2086
    work "file of $SLOW MiB to 4, link 100 Mbit/s" $((SLOW << 20)) 1 1 ours rsync_par $CASTS
    link_share $LINK $((SLOW << 20))
    set_rate 0 0
    LINK=0
}

case_small() {
    small_files "$SMALL"
    # shellcheck disable=SC2086
    work "$SMALL small files to 4" "$BYTES" "$SMALL" 1 ours $RSYNCS $CASTS floor
    beside_floor
}

# What no network and no protocol leave: seconds of our daemons and of the floor program.
beside_floor() {
    [ "${BEST[floor.t]:-}" ] || return 0
    say "    to read and to make these files takes $(calc %.3f "${BEST[floor.t]}") s and ${BEST[floor.cs]} CPU s without any network; ours $(calc %.2f "${BEST[ours.t]} / ${BEST[floor.t]}") times as long, with $(calc %.2f "${BEST[ours.cs]} + $MK_HOSTS * ${BEST[ours.cr]}") CPU s in all"
}

# The receivers have everything, from us.
case_again() {
    small_files "$SMALL"
    empty_receivers
    CAP=$LIMIT run_ours
    # shellcheck disable=SC2086
    work "$SMALL small files, nothing to do" "$BYTES" "$SMALL" 5 ours $RSYNCS
}

case_many() {
    small_files "$MANY"
    empty_receivers
    CAP=$LIMIT run_ours
    # shellcheck disable=SC2086
    work "$MANY small files, nothing to do" "$BYTES" "$MANY" 3 ours $RSYNCS
    empty_dir "$MK_DIR/h0"
    empty_receivers
}

# Milliseconds from msync's start to its exit, for a file of 4 KiB that is new each time: the median of
# 20. Timed inside the namespace, so that entering it does not count.
case_one() {
    local us tool i times verdict=equal
    empty_dir "$MK_DIR/h0"
    empty_receivers
    us=$(in_host 0 bash -c '
        f=$1/file
        for ((i = 0; i < 20; i++)); do
            head -c 4096 /dev/urandom >"$f"
            sleep 0.1
            a=${EPOCHREALTIME/[.,]/}
            "$2" -q send file || exit 1
            b=${EPOCHREALTIME/[.,]/}
            echo $((b - a))
        done' - "$MK_DIR/h0" "$BIN/msync") || verdict=FAILED
    us=$(median <<<"$us")
    all_same full || verdict=FAILED
    say "one file of 4 KiB to 4, start to exit, median: makuosan $(calc %.2f "$us / 1000") ms (20 runs, trees $verdict)"
    CAP=20
    for tool in rsync_par udpcast uftp; do
        available $tool || continue
        times='' verdict=equal
        for ((i = 0; i < 3; i++)); do
            head -c 4096 /dev/urandom >"$MK_DIR/h0/file"
            empty_receivers
            run_$tool
            times+="$T "
            { [ "$RC" = 0 ] && all_same "${HOW[$tool]}"; } || verdict=FAILED
        done
        say "    ${NAME[$tool]} $(calc %.1f "$(tr ' ' '\n' <<<"${times% }" | median) * 1000") ms (3 runs, trees $verdict)"
    done
}

# Seconds from a change until it is on all hosts, while something watches.
case_watch() {
    local files rounds tool t rc ours verdict
    for files in 1 1000; do
        rounds=$((files == 1 ? 20 : 3)) ours=
        for tool in ours lsyncd; do
            [ $tool = ours ] || [ "$LSYNCD" ] || continue
            empty_dir "$MK_DIR/h0"
            empty_receivers
            if ! watch_$tool; then
                say "$files changed on 4 hosts: ${NAME[$tool]} does not start"
                continue
            fi
            t=$(perl "$BENCH_DIR/visible.pl" 60 $rounds $files "$MK_DIR/h0" "$MK_DIR"/h[1-4]) && rc=0 || rc=$?
            verdict=equal
            all_same full 2>/dev/null || { sleep 3; all_same full || verdict='FAILED (differ)'; }
            end_$tool
            if [ $rc != 0 ]; then verdict="given up"; t=60; fi
            [ $tool != ours ] || ours=$t
            say "$files changed, until on 4 hosts, median of $rounds: ${NAME[$tool]} $(calc %.0f "$t * 1000") ms ($(calc %.2f "$t / $ours") of ours; trees $verdict)"
        done
    done
}

# The rate at each loss over that without, in the same mode.
case_loss() {
    local p t0
    [ "$IPTABLES" ] || return 0
    set_gso 1
    PATIENCE=2
    source_file "$BIG"
    t0=
    for p in 0 1 5; do
        LOSS=$p
        set_loss $p
        if [ $p = 0 ]; then
            work "file of $BIG MiB to 4, gso 1, loss 0 %" $((BIG << 20)) 1 1 ours
            t0=${BEST[ours.t]}
            continue
        fi
        # shellcheck disable=SC2086
        work "file of $BIG MiB to 4, gso 1, loss $p %" $((BIG << 20)) 1 1 ours rsync_par $CASTS
        say "    ours: $(calc %.1f "$t0 / ${BEST[ours.t]} * 100") % of the rate without loss; wire without headers $(calc %.4f "${BEST[ours.w]} * 1424 / 1514 / ($BIG * 2^20)") times the file; in theory a block reaches all 4 after $(theory $p) sends"
    done
    LOSS=1
    set_loss 1
    small_files "$SMALL"
    work "$SMALL small files, gso 1, loss 1 %" "$BYTES" "$SMALL" 1 ours rsync_par udpcast
    LOSS=0 PATIENCE=4
    set_loss 0
    set_gso 65535
}

# How often a host was the slowest of a transfer, as the sender's members -v has it.
slowest() { in_host 0 "$BIN/msync" members -v | awk -v h="$1" '$1 == h { for (i = 2; i < NF; i++) if ($i == "slowest") print $(i + 1) }'; }

case_slow() {
    local size=$((SLOW / 4)) before=() k rounds=''
    source_file $size
    set_port_rate 4 100
    for k in 1 2 3 4; do before[k]=$(slowest h$k); done
    # shellcheck disable=SC2086
    work "file of $size MiB to 4, one at 100 Mbit/s" $((size << 20)) 1 1 ours rsync_par $CASTS
    link_share 100 $((size << 20))
    for k in 1 2 3 4; do rounds+=" h$k $(($(slowest h$k) - before[k]))"; done
    say "    members -v says in how many rounds each was the slowest:$rounds; it is h4"
    set_port_rate 4 0
}

# Two hosts send different files to all others at the same time.
case_two() {
    local t0 t1 w0 w1 first a b k verdict=equal
    empty_dir "$MK_DIR/h0"
    empty_receivers
    fill 0 a/file "$LOSSY"
    fill 1 b/file "$LOSSY"
    sleep 0.1
    w0=$(tx_bytes 0); w1=$(tx_bytes 1)
    start_metered 0 two0 "$LIMIT" "$BIN/msync" -q send -r a; a=$METERED
    start_metered 1 two1 "$LIMIT" "$BIN/msync" -q send -r b; b=$METERED
    wait -n "$a" "$b"
    w0=$(($(tx_bytes 0) - w0)); w1=$(($(tx_bytes 1) - w1))
    wait "$a" "$b"
    for k in two0 two1; do [ "$(figure $k 5)" = 0 ] || verdict="FAILED (status $(figure $k 5))"; done
    for ((k = 0; k <= MK_HOSTS; k++)); do
        [ $k = 0 ] || same full "$MK_DIR/h0/a" "$MK_DIR/h$k/a" || verdict="FAILED (differ)"
        [ $k = 1 ] || same full "$MK_DIR/h1/b" "$MK_DIR/h$k/b" || verdict="FAILED (differ)"
    done
    t0=$(calc %.3f "$(figure two0 2) - $(figure two0 1)"); t1=$(calc %.3f "$(figure two1 2) - $(figure two1 1)")
    first=$(calc %.1f "100 * $w0 / ($w0 + $w1)")
    say "two senders at once, $LOSSY MiB each to the 4 others: $t0 s and $t1 s; while both ran, shares of the bytes sent: $first % and $(calc %.1f "100 - $first") %; $(calc %.1f "2 * $LOSSY * 1.048576 / ($t0 > $t1 ? $t0 : $t1)") MB/s together; trees $verdict"
}

bench() {
    local c
    BIG=1024 COUNT=200 SLOW=256 SMALL=10000 MANY=100000 LOSSY=512
    if [ "${QUICK:-}" ]; then BIG=64 COUNT=20 SLOW=12 SMALL=1000 MANY=5000 LOSSY=64; fi
    net_up 4
    start_daemons
    say "$(uname -sr), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg); $(git log -1 --format=%h 2>/dev/null)"
    table_head
    for c in $ONLY; do "case_$c"; done
}
