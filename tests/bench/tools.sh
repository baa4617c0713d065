# shellcheck shell=bash disable=SC2016,SC2034
# The programs that the benchmark runs, each on the same work: the contents of $MK_DIR/h0 to $MK_DIR/hK
# on each receiver K. To be read after lib.sh.
#
# Each run_NAME sets
#   T       seconds, from the start of the sender's program to the end of the last that has to end
#   RC      0, or what failed; 124 if it was given up after $CAP seconds
#   CS, CR  CPU seconds at the sender and at receiver 1, over all their processes
#   MS, MR  MiB of memory, the largest process at the sender and at receiver 1
#
# How the rivals were set (tried on this network, best taken; each knows what it could know):
#   rsync   -a, without compression; a daemon on each receiver, which is running when time starts.
#   udpcast --rexmit-hello-interval 50, else a start takes 2 s; --exit-wait 20, else receivers stay
#           500 ms longer. With loss they need those (else it hangs), and time ends with the sender. Half duplex, the default: full duplex is no faster here, and at 5 % loss
#           it hangs. No FEC, no rate: repairs are asked for by slices. Receivers are waiting when time
#           starts. tar's old format: tenths less to send than with POSIX headers; times in seconds.
#   uftp    -R -1 (as fast as the interface takes it; fixed rates were not faster), or 95 % of the
#           link's rate where that is limited; buffers of 100 MB (the kernel grants less without its
#           limits raised), cache 20 MB, blocks of 1,450 bytes; -H with all receivers and
#           -r 0.05:0.005:5 -s 50, else a start takes 2 s and each file waits. uftpd is running when time starts.

# metered HOST NAME command...: runs it in a host, with its figures in $MK_DIR/m.NAME, and waits. In
# the background, so that a signal to the script is not held up by it.
metered() {
    local host=$1 name=$2
    shift 2
    rm -f "$MK_DIR/m.$name"
    start_metered "$host" "$name" "$CAP" "$@"
    wait "$METERED"
}

# start_metered HOST NAME LIMIT command...: the same in the background; its id is in METERED.
start_metered() {
    local host=$1 name=$2 cap=$3
    shift 3
    rm -f "$MK_DIR/m.$name"
    # No function: `ip netns exec` becomes the meter, and the id is the meter's own.
    ip netns exec "$(host_ns "$host")" perl "$BENCH_DIR/meter.pl" "$MK_DIR/m.$name" "$cap" "$@" >"$MK_DIR/out.$name" 2>&1 </dev/null &
    METERED=$!
}

# figure NAME FIELD: one of start, end, cpu, KiB, status (1 to 5); 0 where there is nothing.
figure() { awk -v f="$2" 'NR == 1 { v = $f } END { print v == "" ? 0 : v }' "$MK_DIR/m.$1" 2>/dev/null || echo 0; }
mib() { calc %.1f "$1 / 1024"; }
calc() { awk "BEGIN { printf \"$1\", $2 }"; }

# User and system time of a process so far, with those that it has waited for, in seconds.
cpu() { awk -v t="$TICKS" '{ sub(/^.*\) /, ""); printf "%.2f", ($12 + $13 + $14 + $15) / t }' "/proc/$1/stat" 2>/dev/null || echo 0; }
hwm() { awk '/^VmHWM/ { k = $2 } END { printf "%.1f", k / 1024 }' "/proc/$1/status" 2>/dev/null || echo 0; }
TICKS=$(getconf CLK_TCK)

# from_sender NAME [NAMES...]: T, RC, CS and MS from the sender's meter; T lasts until the others end.
from_sender() {
    local name end
    RC=$(figure "$1" 5)
    end=$(figure "$1" 2)
    for name in "${@:2}"; do
        [ "$(figure "$name" 5)" = 0 ] || [ "$RC" != 0 ] || RC=$(figure "$name" 5)
        end=$(calc %.6f "($end > $(figure "$name" 2)) ? $end : $(figure "$name" 2)")
    done
    T=$(calc %.6f "$end - $(figure "$1" 1)")
    CS=$(figure "$1" 3)
    MS=$(mib "$(figure "$1" 4)")
}

# from_receiver NAME: CR and MR from a receiver's meter.
from_receiver() {
    CR=$(figure "$1" 3)
    MR=$(mib "$(figure "$1" 4)")
}

# said_seconds NAME: T as the program itself has said it, if it did not fail.
said_seconds() { [ "$RC" != 0 ] || T=$(awk '{ print $1; exit }' "$MK_DIR/out.$1"); }

# ---- makuosan

start_daemons() {
    local k
    DAEMONS=()
    for ((k = 0; k <= MK_HOSTS; k++)); do
        host_dir "$k"
        spawn "$k" "$MK_DIR/log$k" "$BIN/makuosan" -n -b "$MK_DIR/h$k" -i "$(host_addr "$k")" -N "h$k"
        DAEMONS+=("$SPAWNED")
    done
    for ((k = 0; k < 200; k++)); do
        if in_host 0 "$BIN/msync" members 2>/dev/null | grep -q "^Total: $MK_HOSTS "; then
            # A daemon waits for half a second after its start before it first sends: others may be
            # on their way. That is no part of any work here.
            sleep 0.6
            return 0
        fi
        sleep 0.05
    done
    cat "$MK_DIR"/log* >&2
    die "the daemons do not find each other"
}

run_ours() {
    local k c0 c1
    for k in "${DAEMONS[@]}"; do echo 5 >"/proc/$k/clear_refs"; done 2>/dev/null
    c0=$(cpu "${DAEMONS[0]}"); c1=$(cpu "${DAEMONS[1]}")
    CAP=$LIMIT metered 0 ours "$BIN/msync" -q send -r
    from_sender ours
    CS=$(calc %.2f "$CS + $(cpu "${DAEMONS[0]}") - $c0")
    CR=$(calc %.2f "$(cpu "${DAEMONS[1]}") - $c1")
    MS=$(hwm "${DAEMONS[0]}"); MR=$(hwm "${DAEMONS[1]}")
}

# ---- rsync

# A daemon on each receiver; stop_receivers ends them, which writes their figures.
start_rsyncs() {
    local k
    RECEIVERS=()
    for ((k = 1; k <= MK_HOSTS; k++)); do
        cat >"$MK_DIR/rsyncd$k.conf" <<CONF
uid = root
gid = root
use chroot = no
reverse lookup = no
[m]
path = $MK_DIR/h$k
read only = no
CONF
        start_metered "$k" "rsync$k" 0 rsync --daemon --no-detach --config="$MK_DIR/rsyncd$k.conf" --address="$(host_addr "$k")"
        RECEIVERS+=("$METERED")
    done
    for ((k = 1; k <= MK_HOSTS; k++)); do
        in_host 0 bash -c 'for ((i = 0; i < 100; i++)); do : 2>/dev/null <"/dev/tcp/$0/873" && exit; sleep 0.02; done' "$(host_addr "$k")" 2>/dev/null
    done
}
# A process is counted only when its parent has waited for it.
settle_rsyncs() {
    local id child n
    for id in "${RECEIVERS[@]}"; do
        child=$(<"/proc/$id/task/$id/children") || continue
        child=${child%% *}
        for ((n = 0; n < 50; n++)); do
            [ "$(<"/proc/$child/task/$child/children")" ] || break
            sleep 0.02
        done
    done 2>/dev/null
}
stop_receivers() {
    reap "${RECEIVERS[@]}"
    wait "${RECEIVERS[@]}" 2>/dev/null
    RECEIVERS=()
}
rsync_urls() { local k; for ((k = 1; k <= MK_HOSTS; k++)); do printf 'rsync://%s/m/\n' "$(host_addr "$k")"; done; }

# run_rsyncs SCRIPT: the shell script with the source and the receivers as arguments.
run_rsyncs() {
    local urls
    mapfile -t urls < <(rsync_urls)
    start_rsyncs
    metered 0 rsync bash -c "$1" - "$MK_DIR/h0/" "${urls[@]}"
    settle_rsyncs
    stop_receivers
    from_sender rsync
    from_receiver rsync1
}
run_rsync_1x1() {
    run_rsyncs 'from=$1; shift; for to; do rsync -a --exclude=/.makuosan "$from" "$to" || exit; done'
}
run_rsync_par() {
    run_rsyncs 'from=$1; shift; ids=(); for to; do rsync -a --exclude=/.makuosan "$from" "$to" & ids+=($!); done
        bad=0; for id in "${ids[@]}"; do wait "$id" || bad=$?; done; exit $bad'
}

# ---- watching: ours with its usual delay of 100 ms; lsyncd with one of 1 s, as it counts whole seconds, and a
# daemon of rsync on each receiver

watch_ours() {
    spawn 0 "$MK_DIR/out.watch" "$BIN/msync" watch --delete .
    WATCH=$SPAWNED
    ready 'in_host 0 "$BIN/msync" flush'
}
end_ours() { reap "$WATCH"; }

watch_lsyncd() {
    local url
    start_rsyncs
    {
        echo 'settings { nodaemon = true, inotifyMode = "CloseWrite or Modify", maxProcesses = 8 }'
        for url in $(rsync_urls); do
            echo "sync { default.rsync, source = \"$MK_DIR/h0\", target = \"$url\", delay = 1, exclude = { '/.makuosan' }, rsync = { archive = true } }"
        done
    } >"$MK_DIR/lsyncd.conf"
    date +%N >"$MK_DIR/h0/begun"
    spawn 0 "$MK_DIR/out.lsyncd" lsyncd "$MK_DIR/lsyncd.conf"
    WATCH=$SPAWNED
    ready 'all_same contents'
}
end_lsyncd() { reap "$WATCH"; stop_receivers; }

# ready COMMAND: waits until it is, 10 s at most.
ready() {
    local i
    for ((i = 0; i < 100; i++)); do
        eval "$1" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

# ---- udpcast, with tar on both ends

# A start may fail where packets are lost, and then hangs until its timeout: the second attempt counts, or
# the third. What the others sent is in WASTED.
run_udpcast() {
    local attempt before
    WASTED=0
    for attempt in 1 2 3; do
        before=$(tx_bytes 0)
        udpcast_once
        [ "$RC" = 0 ] || [ "$RC" = 124 ] || [ $attempt = 3 ] || {
            say "udpcast: attempt $attempt failed (status $RC)" >&2
            WASTED=$((WASTED + $(tx_bytes 0) - before))
            continue
        }
        return
    done
}
udpcast_once() {
    local k names=() stay=20 id sent
    [ "$LOSS" = 0 ] || stay=500
    RECEIVERS=()
    for ((k = 1; k <= MK_HOSTS; k++)); do
        start_metered "$k" "udp$k" "$CAP" bash -c 'set -o pipefail
            udp-receiver --nokbd --no-progress --interface e0 --exit-wait "$2" --start-timeout 4 | tar -xpf - -C "$1"' - "$MK_DIR/h$k" "$stay"
        RECEIVERS+=("$METERED")
        [ "$LOSS" != 0 ] || names+=("udp$k")
    done
    sleep 0.2
    rm -f "$MK_DIR/m.udp"
    sent=$(tx_bytes 0)
    start_metered 0 udp "$CAP" bash -c 'set -o pipefail
        cd "$1" && tar -cf - -- * | udp-sender --nokbd --no-progress --interface e0 \
            --rexmit-hello-interval 50 --start-timeout 4 --min-receivers "$2"' - "$MK_DIR/h0" "$MK_HOSTS"
    id=$METERED
    # With loss it may wait for a receiver for good: after 5 s more must have gone than greetings.
    if [ "$LOSS" != 0 ]; then
        for ((k = 0; k < 50; k++)); do [ -e "$MK_DIR/m.udp" ] && break; sleep 0.1; done
        [ -e "$MK_DIR/m.udp" ] || [ $(($(tx_bytes 0) - sent)) -gt 1000000 ] || kill -TERM "$id"
    fi
    wait "$id"
    # When the sender has given up, nobody waits for what does not come.
    [ "$(figure udp 5)" = 0 ] || reap "${RECEIVERS[@]}"
    wait "${RECEIVERS[@]}" 2>/dev/null
    RECEIVERS=()
    from_sender udp "${names[@]}"
    from_receiver udp1
}

# ---- uftp

# uftpd leaves its parent, so that its figures are the kernel's for its id, not the meter's.
start_uftpds() {
    local k i
    for ((k = 1; k <= MK_HOSTS; k++)); do
        rm -f "$MK_DIR/uftpd$k.pid"
        in_host "$k" uftpd -I e0 -D "$MK_DIR/h$k" -B 104857600 -c 20971520 -q -x 1 -L "$MK_DIR/uftpd$k.log" -P "$MK_DIR/uftpd$k.pid" >/dev/null 2>&1 </dev/null
    done
    RECEIVERS=()
    for ((k = 1; k <= MK_HOSTS; k++)); do
        for ((i = 0; i < 50; i++)); do [ -s "$MK_DIR/uftpd$k.pid" ] && break; sleep 0.02; done
        [ -s "$MK_DIR/uftpd$k.pid" ] || { RC=1; return 1; }
        RECEIVERS+=("$(<"$MK_DIR/uftpd$k.pid")")
    done
    # Until it has joined its group.
    sleep 0.2
}

run_uftp() { uftp_with; }
run_uftp_sync() { uftp_with -z; }

uftp_with() {
    local rate=-1 k ids=
    T=0 CS=0 CR=0 MS=0 MR=0
    start_uftpds || { stop_receivers; return; }
    [ "$LINK" = 0 ] || rate=$((LINK * 950))
    # By their addresses, 10.77.0.(K+1).
    for ((k = 1; k <= MK_HOSTS; k++)); do ids+=$(printf ',0x0A4D00%02X' $((k + 1))); done
    metered 0 uftp bash -c 'cd "$1" && shift && exec uftp "$@" -- *' - "$MK_DIR/h0" -H "${ids#,}" \
        -I e0 -R "$rate" -B 104857600 -b 1450 -r 0.05:0.005:5 -s 50 -x 2 "$@"
    from_sender uftp
    CR=$(cpu "${RECEIVERS[0]}"); MR=$(hwm "${RECEIVERS[0]}")
    stop_receivers
}

# ---- the limit: no protocol, one file

run_limit() {
    local k names=()
    RECEIVERS=()
    for ((k = 1; k <= MK_HOSTS; k++)); do
        start_metered "$k" "limit$k" "$CAP" "$LIMIT_PROGRAM" recv "$(host_addr 0)" "$(host_addr "$k")" "$MK_DIR/h$k/file"
        RECEIVERS+=("$METERED")
        names+=("limit$k")
    done
    metered 0 limit "$LIMIT_PROGRAM" send "$(host_addr 0)" "$MK_DIR/h0/file" "$MK_HOSTS"
    wait "${RECEIVERS[@]}" 2>/dev/null
    RECEIVERS=()
    from_sender limit "${names[@]}"
    # From the first byte: until the receivers are there is no part of it.
    said_seconds limit
    from_receiver limit1
}

# ---- the floor: no network, small files

# All of it is one process: what it took is shown as the sender's.
run_floor() {
    local trees
    mapfile -t trees < <(receiver_dirs)
    metered 0 floor "$FLOOR_PROGRAM" "$MK_DIR/h0" "${trees[@]}"
    from_sender floor
    CR=0 MR=0
    # From when the bytes are in memory.
    said_seconds floor
}
