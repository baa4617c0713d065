# shellcheck shell=bash
# Shell functions shared by the scripts under tests/: hosts made of network namespaces.
#
# A host is a network namespace with one veth, joined by a bridge that has a namespace of its own.
# Host 0 is the sender, 1 to N are the receivers; host K has the address 10.77.0.(K+1). Everything is
# named with the process id of the script and goes when it ends, however it ends.
#
#   . tests/lib.sh
#   net_up 4            # hosts 0 to 4
#   hosts_down; hosts_up 8    # other hosts, the same work directory
#   in_host 0 command   # run in a host
#   net_down            # also by the trap that net_up sets
#
# Needs bash, root, iproute2; loss needs iptables.

MK_TAG=mk$$
MK_HOSTS=0
MK_PIDS=()
MK_DIR=

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

host_ns() { printf '%s-%s' "$MK_TAG" "$1"; }
host_addr() { printf '10.77.0.%d' "$(($1 + 1))"; }
in_host() { local ns; ns=$(host_ns "$1"); shift; ip netns exec "$ns" "$@"; }

# net_up N [WORKDIR]: the bridge, the sender and N receivers; a work directory on tmpfs.
net_up() {
    MK_DIR=${2:-/dev/shm/$MK_TAG}
    trap net_down EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    # Who reads the output may go first.
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
    mkdir -p "$MK_DIR"
    hosts_up "$1"
}

# hosts_up N: the bridge, the sender and N receivers; the work directory stays as it is.
hosts_up() {
    local k ns
    ip netns add "$MK_TAG-br"
    # Multicast is flooded (no snooping), and a port forwards at once (no spanning tree).
    ip -n "$MK_TAG-br" link add br0 type bridge mcast_snooping 0 stp_state 0
    ip -n "$MK_TAG-br" link set br0 up
    for ((k = 0; k <= $1; k++)); do
        ns=$(host_ns "$k")
        ip netns add "$ns"
        ip link add name e0 netns "$ns" mtu 1500 type veth peer name "p$k" netns "$MK_TAG-br"
        ip -n "$MK_TAG-br" link set "p$k" mtu 1500 master br0 up
        ip -n "$ns" link set lo up
        ip -n "$ns" addr add "$(host_addr "$k")/24" brd + dev e0
        ip -n "$ns" link set e0 up
    done
    MK_HOSTS=$1
}

# Waits until the processes given are gone, 5 s at most, then kills them.
reap() {
    local pid n
    for pid in "$@"; do
        kill -TERM "$pid" 2>/dev/null
    done
    for ((n = 0; n < 100; n++)); do
        for pid in "$@"; do
            # `kill -0` holds for a zombie too; the shell reaps its own children by itself.
            if kill -0 "$pid" 2>/dev/null; then sleep 0.05; continue 2; fi
        done
        return 0
    done
    for pid in "$@"; do
        kill -KILL "$pid" 2>/dev/null
    done
    return 0
}

# Ends what spawn started.
stop_all() {
    [ ${#MK_PIDS[@]} -eq 0 ] || reap "${MK_PIDS[@]}"
    wait "${MK_PIDS[@]}" 2>/dev/null
    MK_PIDS=()
}

# Ends what runs in the hosts, and takes them away.
hosts_down() {
    local ns left
    stop_all
    for ns in $(ip netns list | awk -v t="$MK_TAG-" 'index($1, t) == 1 { print $1 }'); do
        # Whatever else still lives there holds the namespace: end it by its id.
        left=$(ip netns pids "$ns")
        # shellcheck disable=SC2086
        [ -z "$left" ] || kill -KILL $left 2>/dev/null
        ip netns del "$ns"
    done
}

net_down() {
    trap - EXIT
    trap '' HUP INT PIPE TERM
    hosts_down
    [ -z "$MK_DIR" ] || { dirs_down "$MK_DIR"; rm -rf "$MK_DIR"; }
}

# host_dir HOST: the host's directory below the work directory. Where that is a tmpfs, so is this, one of its
# own if it can be mounted: hosts do not wait for each other's renames, which one file system does one
# after another.
host_dir() {
    mkdir -p "$MK_DIR/h$1"
    [ "$(stat -f -c %T "$MK_DIR")" = tmpfs ] || return 0
    grep -qF " $MK_DIR/h$1 " /proc/mounts || mount -t tmpfs -o size=90%,mode=755 "$MK_TAG" "$MK_DIR/h$1" 2>/dev/null || :
}

# dirs_down DIRECTORY: unmounts what is mounted there and below.
dirs_down() {
    local dir
    awk -v d="$1" '$2 == d || index($2, d "/") == 1 { print $2 }' /proc/mounts | while read -r dir; do umount -l "$dir"; done
}

# spawn HOST LOGFILE command...: in the background, ended by stop_all. Its id is in SPAWNED.
spawn() {
    local ns log
    ns=$(host_ns "$1")
    log=$2
    shift 2
    # `ip netns exec` becomes the command: the id is the command's own.
    ip netns exec "$ns" "$@" >>"$log" 2>&1 </dev/null &
    SPAWNED=$!
    MK_PIDS+=("$SPAWNED")
}

# Loss at every receiver, in percent; 0 takes it away. One packet a time, so no super-packets: a DROP
# rule else takes 64 KiB at once.
set_loss() {
    local k p
    for ((k = 1; k <= MK_HOSTS; k++)); do
        in_host "$k" iptables -F INPUT
        [ "$1" = 0 ] && continue
        p=$(awk -v l="$1" 'BEGIN { printf "%.6f", l / 100 }')
        in_host "$k" iptables -A INPUT -i e0 -m statistic --mode random --probability "$p" -j DROP
    done
}

# set_gso N: how many segments a packet on a veth may hold, everywhere (1: one packet is one frame).
set_gso() {
    local k
    for ((k = 0; k <= MK_HOSTS; k++)); do
        ip -n "$(host_ns "$k")" link set e0 gso_max_segs "$1"
        ip -n "$MK_TAG-br" link set "p$k" gso_max_segs "$1"
    done
}

# set_rate HOST MBIT: limits what a host sends; 0 takes the limit away. The queue is that of a host:
# 1,000 full packets, so that a full send buffer holds the sender up first.
set_rate() { limit_rate "$(host_ns "$1")" e0 "$2" 1514000; }

# set_port_rate HOST MBIT: limits what a host is sent, at its port of the bridge; 0 takes the limit
# away. The queue is that of a cheap switch: 64 full packets, and what does not fit is lost.
set_port_rate() { limit_rate "$MK_TAG-br" "p$1" "$2" 96896; }

# limit_rate NAMESPACE INTERFACE MBIT QUEUE: the bucket holds 1 ms, one packet of 16 KiB at least.
limit_rate() {
    local burst=$(($3 * 125))
    tc -n "$1" qdisc del dev "$2" root 2>/dev/null
    [ "$3" = 0 ] && return 0
    [ "$burst" -ge 16384 ] || burst=16384
    tc -n "$1" qdisc add dev "$2" root tbf rate "${3}mbit" burst "$burst" limit "$4"
}

# What a host's interface has sent so far, in bytes with Ethernet headers.
tx_bytes() { in_host "$1" cat /sys/class/net/e0/statistics/tx_bytes; }
