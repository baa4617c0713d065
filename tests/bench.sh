#!/bin/bash
# Benchmarks: makuosan beside rsync, udpcast and uftp, on the same work in the same run, between network
# namespaces joined by a bridge (MTU 1500), tmpfs on both ends. One table; every tree is compared.
#
#   tests/bench.sh             all of it (root; about 13 GiB of memory)
#   QUICK=1 tests/bench.sh     smaller sizes
#   ONLY='file small' ...      only these, in this order: file files rate small again many one watch loss
#                              slow two
#   TOOLS='rsync_par' ...      only these rivals: rsync_1x1 rsync_par udpcast uftp
#   BIN=DIR ...                where makuosan and msync are (target/release)
#   tests/bench.sh big         the cases run by hand: see tests/bench/big.sh
#
# Installs nothing: what is missing is named and skipped. Everything is stopped and removed at the end,
# however it ends. How the rivals are set is in tests/bench/tools.sh.
#
# A line is one program on one work. "MB/s each": of files, at each receiver. "CPU s" and "MiB": of the
# sender and of receiver 1 (the largest process; for a rival not below 3 MiB, the meter's own). "wire":
# what left the sender's interface, over the bytes of the files. "ratio": the seconds of the best rival
# over ours; above 1 ours is faster. "idle": how much of the machine was idle meanwhile (with others at
# work it is 0 and seconds say little; CPU seconds say more). A rival is given up after 4 times the
# seconds that ours took (with loss 2 times), and 8 s.
#
# Works that take less than 6 s are done three times by each, and the fastest counts.
#
# A veth passes GSO super-packets whole, as a card with segmentation and receive offload does, and counts
# their headers once. The runs marked "gso 1" have single packets for everybody; those with loss need it
# (a DROP rule else takes 64 KiB at once). "limit" is raw multicast with GSO, received with GRO, a
# checksum and pwrite, no protocol (tests/bench/limit.rs). "floor" is what reading and making small files
# takes without any network (tests/bench/floor.rs). Each host's directory is a tmpfs of its own.

here=$(cd "$(dirname "$0")" && pwd)
BENCH_DIR=$here/bench
# shellcheck source=tests/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/bench/tools.sh
. "$BENCH_DIR/tools.sh"
# shellcheck source=tests/bench/cases.sh
. "$BENCH_DIR/cases.sh"
# shellcheck source=tests/bench/big.sh
. "$BENCH_DIR/big.sh"
cd "$here/.." || exit 1

BIN=${BIN:-target/release}
BIN=$(cd "$BIN" 2>/dev/null && pwd) || die "no $BIN: build first (cargo build --release)"
LIMIT_PROGRAM=$BIN/examples/limit
FLOOR_PROGRAM=$BIN/examples/floor
CASES='file files rate small again many one watch loss slow two'
ONLY=${ONLY:-$CASES}
TOOLS=${TOOLS:-rsync_1x1 rsync_par udpcast uftp}
for c in $ONLY; do case " $CASES " in *" $c "*) ;; *) die "ONLY: $c is none of: $CASES" ;; esac; done
LIMIT=300    # seconds until a run of ours is given up
CAP=$LIMIT   # the same for the run at hand
TRIES=3      # how many times each does a work that takes less than SHORT seconds; the fastest counts
SHORT=6
PATIENCE=4   # how many times the seconds of ours a rival may take
LINK=0       # Mbit/s of the sender's link; 0: no limit
LOSS=0       # percent lost at each receiver
WASTED=0     # bytes of attempts that do not count

for p in makuosan msync; do [ -x "$BIN/$p" ] || die "no $BIN/$p: build first (cargo build --release)"; done
if [ "$(id -u)" != 0 ]; then say "bench: SKIPPED: needs root for network namespaces"; exit 0; fi
for p in ip tc perl awk; do
    have "$p" || { say "bench: SKIPPED: $p is not installed"; exit 0; }
done
RSYNC=yes
have rsync || { RSYNC=; say "rsync is not installed: skipped; trees are compared by contents alone"; }
UDPCAST=yes
{ have udp-sender && have udp-receiver && have tar; } || { UDPCAST=; say "udpcast (udp-sender, udp-receiver) or tar is not installed: skipped"; }
UFTP=yes
{ have uftp && have uftpd; } || { UFTP=; say "uftp (uftp, uftpd) is not installed: skipped"; }
LSYNCD=yes
{ have lsyncd && have rsync; } || { LSYNCD=; say "lsyncd or rsync is not installed: skipped"; }
LIMITED=yes
{ [ -x "$LIMIT_PROGRAM" ] && [ -x "$FLOOR_PROGRAM" ]; } || { LIMITED=; say "no $LIMIT_PROGRAM or $FLOOR_PROGRAM (cargo build --release --examples): skipped"; }
IPTABLES=yes
have iptables || { IPTABLES=; say "iptables is not installed: the runs with loss are skipped"; }

now() { local t=$EPOCHREALTIME; printf '%s' "${t/[.,]/}"; }       # microseconds
idle() { awk -v t="$TICKS" 'NR == 1 { printf "%.2f", $5 / t }' /proc/stat; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# same HOW SRC DST...: whether the trees are equal to SRC. HOW: full (contents, kind, mode, owner, time),
# seconds (the same, times in whole seconds) or contents. Says on stderr what is not.
same() {
    local how=$1 from=$2 to out window=-1
    shift 2
    out=$(perl "$BENCH_DIR/equal.pl" "$from" "$@" 2>&1)
    [ "$how" != seconds ] || window=0
    if [ "$RSYNC" ] && [ "$how" != contents ]; then
        for to; do
            [ -z "$out" ] || break
            out=$(rsync -ain --modify-window=$window --delete --exclude=/.makuosan "$from/" "$to/" 2>&1 | grep -av '^\.d[^ ]* \./$' | head -n 5)
        done
    fi
    [ -n "$out" ] || return 0
    say "differs from $from: $out" >&2
    return 1
}
receiver_dirs() { local k; for ((k = 1; k <= MK_HOSTS; k++)); do printf '%s\n' "$MK_DIR/h$k"; done; }
all_same() {
    local trees
    mapfile -t trees < <(receiver_dirs)
    same "$1" "$MK_DIR/h0" "${trees[@]}"
}
empty_dir() { find "$1" -mindepth 1 -maxdepth 1 ! -name .makuosan -exec rm -rf {} +; }
empty_receivers() { local k; for ((k = 1; k <= MK_HOSTS; k++)); do [ ! -d "$MK_DIR/h$k" ] || empty_dir "$MK_DIR/h$k"; done; }

# What a tool is called in the table, and how its trees are compared: what it says it transfers.
declare -A NAME=([ours]=makuosan [rsync_1x1]='rsync 1x1' [rsync_par]='rsync par' [udpcast]=udpcast [uftp]=uftp [uftp_sync]='uftp -z' [limit]=limit [floor]=floor [lsyncd]=lsyncd)
declare -A HOW=([ours]=full [rsync_1x1]=full [rsync_par]=full [udpcast]=seconds [uftp]=contents [uftp_sync]=contents [limit]=contents [floor]=full)
available() {
    case $1 in
        ours) ;;
        limit | floor) [ "$LIMITED" ] ;;
        uftp_sync) [ "$UFTP" ] && [[ " $TOOLS " == *" uftp "* ]] ;;
        *) [[ " $TOOLS " == *" $1 "* ]] || return 1
            case $1 in rsync_*) [ "$RSYNC" ] ;; udpcast) [ "$UDPCAST" ] ;; uftp) [ "$UFTP" ] ;; esac ;;
    esac
}

FORMAT='%-38s %-10s %9s %8s %8s %7s %7s %6s %6s %9s %6s %7s %5s  %s\n'
table_head() {
    # shellcheck disable=SC2059
    {
        printf "$FORMAT" "" "" "" MB/s "" "CPU s" "CPU s" MiB MiB "wire" wire/ "" idle ""
        printf "$FORMAT" work program seconds each files/s sender recv. sender recv. MB files ratio % trees
    }
}

# attempt TOOL RUNS: one tool does the work once, or RUNS times; what came of it is in GOT.
declare -A GOT
attempt() {
    local tool=$1 runs=$2 i t c0=0 c1=0 w0 i0 rc=0 times='' verdict
    [ "$runs" -gt 1 ] || empty_receivers
    w0=$(tx_bytes 0); i0=$(idle)
    for ((i = 0; i < runs; i++)); do
        WASTED=0
        "run_$tool"
        times+="$T "; c0=$(calc %.4f "$c0 + $CS"); c1=$(calc %.4f "$c1 + $CR")
        [ "$RC" = 0 ] || { rc=$RC; i=$((i + 1)); break; }
    done
    t=$(tr ' ' '\n' <<<"${times% }" | median)
    i0=$(calc %.0f "($(idle) - $i0) * 100 / (($(tr ' ' '+' <<<"${times% }")) * $(nproc))")
    # Between runs it may be idle too.
    [ "$i0" -le 100 ] || i0=100
    w0=$((($(tx_bytes 0) - w0 - WASTED) / i))
    if [ "$rc" = 124 ] && [ "$tool" != ours ]; then verdict="given up"
    elif [ "$rc" != 0 ]; then verdict="FAILED (status $rc)"
    elif all_same "${HOW[$tool]}"; then verdict=equal
    else verdict="FAILED (differ)"
    fi
    GOT=([t]=$t [cs]=$(calc %.2f "$c0 / $i") [cr]=$(calc %.2f "$c1 / $i") [w]=$w0 [idle]=$i0 [rc]=$rc [verdict]=$verdict [ms]=$MS [mr]=$MR)
}

# better TOOL: whether GOT counts, and not what is in BEST: a failure stays, else the fastest attempt does.
declare -A BEST
better() {
    [ "${BEST[$1.t]:-}" ] || return 0
    [ "${BEST[$1.verdict]}" = equal ] || return 1
    [ "${GOT[verdict]}" = equal ] || return 0
    [ "$(calc %d "${GOT[t]} < ${BEST[$1.t]}")" = 1 ]
}

# attempts RUNS TOOL...: everybody's attempts, in turns: a machine that others use too has slow minutes.
# What counts of each is in BEST[TOOL.key], with the keys of GOT, until the next work.
attempts() {
    local runs=$1 tool i key again=() tools
    shift
    tools=("$@")
    BEST=()
    for ((i = 0; i < TRIES; i++)); do
        again=()
        for tool in "${tools[@]}"; do
            attempt "$tool" "$runs"
            ! better "$tool" || for key in "${!GOT[@]}"; do BEST[$tool.$key]=${GOT[$key]}; done
            [ "$tool" != ours ] || CAP=$(calc %.0f "$PATIENCE * ${BEST[ours.t]} + 8")
            [ "$runs" -gt 1 ] || [ "$(calc %d "${GOT[t]} < $SHORT")" = 0 ] || again+=("$tool")
        done
        tools=("${again[@]}")
    done
}

# work TITLE BYTES FILES RUNS TOOL...: one work by each of the tools, ours first; one line for each.
# RUNS 1: the receivers are emptied before, and the fastest attempt counts. More: they keep what they
# have, there is one attempt, and the median counts, CPU and wire for one run.
work() {
    local title=$1 bytes=$2 files=$3 runs=$4 tool t tools=()
    local best='' ours='' lines=() rate per_s over ratio=-
    shift 4
    CAP=$LIMIT
    for tool; do ! available "$tool" || tools+=("$tool"); done
    attempts "$runs" "${tools[@]}"
    for tool in "${tools[@]}"; do
        t=${BEST[$tool.t]}
        case $tool in
            ours) ours=$t ;;
            limit | floor) ;;
            *) [ "${BEST[$tool.verdict]}" != equal ] || { [ "$best" ] && [ "$(calc %d "$best <= $t")" = 1 ]; } || best=$t ;;
        esac
        rate=- per_s=- over=-
        if [ "${BEST[$tool.rc]}" = 0 ]; then
            [ "$runs" -gt 1 ] || { rate=$(calc %.1f "$bytes / $t / 1e6"); over=$(calc %.3f "${BEST[$tool.w]} / $bytes"); }
            [ "$files" -le 9 ] || per_s=$(calc %.0f "$files / $t")
        fi
        # shellcheck disable=SC2059
        lines+=("$(printf "$FORMAT" "$title" "${NAME[$tool]}" "$(calc %.3f "$t")" "$rate" "$per_s" "${BEST[$tool.cs]}" "${BEST[$tool.cr]}" "${BEST[$tool.ms]}" "${BEST[$tool.mr]}" \
            "$(calc %.1f "${BEST[$tool.w]} / 1e6")" "$over" @ratio@ "${BEST[$tool.idle]}" "${BEST[$tool.verdict]}")")
        title=''
    done
    [ "$best" ] && ratio=$(calc %.2f "$best / $ours")
    for i in "${!lines[@]}"; do
        # @ratio@ is as wide as its column.
        say "${lines[i]/@ratio@/$(printf %7s "$ratio")}"
        ratio=-
    done
    beside_limit "$bytes"
}

# CPU seconds for each GiB beside those of the limit program, if it ran.
beside_limit() {
    [ "${BEST[limit.t]:-}" ] && [ "${BEST[ours.t]:-}" ] || return 0
    say "    CPU s per GiB, ours over the limit's: sender $(calc %.2f "${BEST[ours.cs]} * 2^30 / $1") / $(calc %.2f "${BEST[limit.cs]} * 2^30 / $1") = $(per "${BEST[ours.cs]}" "${BEST[limit.cs]}"), receiver $(calc %.2f "${BEST[ours.cr]} * 2^30 / $1") / $(calc %.2f "${BEST[limit.cr]} * 2^30 / $1") = $(per "${BEST[ours.cr]}" "${BEST[limit.cr]}"); seconds: $(per "${BEST[ours.t]}" "${BEST[limit.t]}")"
}
per() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'; }

case ${1:-} in
    '') bench ;;
    big) big ;;
    *) die "usage: $0 [big]" ;;
esac
