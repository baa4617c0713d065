#!/bin/sh
# Four daemons on this machine, each with an address of its own on the loopback interface, and a real
# tree that goes from the first to the other three. Needs no root and no configuration, and leaves
# nothing behind. Run by `make demo`; the argument is the directory of the programs.
set -u
export LC_ALL=C
unset MSYNC_TARGET MAKUOSAN_BASE MAKUOSAN_PORT MAKUOSAN_USER MAKUOSAN_GROUP MAKUOSAN_GROUPS \
    MAKUOSAN_SOCK MAKUOSAN_RCVBUF MAKUOSAN_SNDBUF

bin=$(cd "${1:-target/release}" 2>/dev/null && pwd) || { echo "demo: no directory $1" >&2; exit 1; }
if [ ! -x "$bin/makuosan" ] || [ ! -x "$bin/msync" ]; then
    echo "demo: makuosan and msync are not in $bin: run make first" >&2
    exit 1
fi
PATH=$bin:$PATH

dir=$(mktemp -d "${TMPDIR:-/tmp}/makuosan-demo.XXXXXX") || exit 1
pids=

# Whether a process runs. (One that has ended, and was not waited for, can still be signaled.)
runs() {
    sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null | grep -qv '^Z'
}

# Waits up to 5 s for a process to end; its status.
ends() {
    tries=0
    while runs "$1"; do
        tries=$((tries + 1))
        [ "$tries" -le 50 ] || return 1
        sleep 0.1
    done
    wait "$1"
}

# Ends what was started, by its process id, and removes what was written.
finish() {
    trap '' EXIT INT TERM HUP
    for pid in $pids; do
        kill "$pid" 2>/dev/null
    done
    for pid in $pids; do
        ends "$pid" 2>/dev/null || kill -9 "$pid" 2>/dev/null
    done
    # Trees of this machine have directories that even their owner may not write to.
    chmod -R u+rwx "$dir" 2>/dev/null
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

heading() {
    printf '\n--- %s\n' "$*"
}

fail() {
    printf '\ndemo: %s\n' "$*" >&2
    for log in "$dir"/*.log; do
        if [ -s "$log" ]; then
            echo "demo: the last lines of ${log##*/}:" >&2
            tail -n 5 "$log" >&2
        fi
    done
    exit 1
}

# Shows a command, then runs it. The progress that msync draws is for terminals: elsewhere, only what
# it ends with is shown.
run() {
    echo "\$ $*"
    if [ -t 2 ]; then
        "$@"
        return
    fi
    "$@" 2>"$dir/stderr"
    status=$?
    sed "s/.*$(printf '\r\033')\[K//" "$dir/stderr"
    return "$status"
}

# Whether any socket of this machine has the port.
taken() {
    grep -qsi ":$(printf %04X "$1") " /proc/net/udp /proc/net/udp6 /proc/net/tcp /proc/net/tcp6
}

# While the loopback interface is down, its address is not among the routes. (/sys may show another
# namespace than ours.)
if [ -r /proc/net/fib_trie ] && ! grep -q '127\.0\.0\.1$' /proc/net/fib_trie; then
    fail "the loopback interface is down (a new network namespace?); try: ip link set lo up"
fi
port=$((10000 + $$ % 20000))
while taken "$port"; do
    port=$((port + 1))
    [ "$port" -lt 32000 ] || fail "no port is free from $((10000 + $$ % 20000)) to 32000"
done

heading "Four daemons, web1 to web4, on 127.0.0.2 to 127.0.0.5, each with a base directory of its own"
mkdir "$dir/web1" "$dir/web2" "$dir/web3" "$dir/web4" || exit 1
for number in 1 2 3 4; do
    address=127.0.0.$((number + 1))
    echo "\$ makuosan -n -N web$number -i $address -p $port -b $dir/web$number &"
    makuosan -n -N "web$number" -i "$address" -p "$port" -b "$dir/web$number" \
        2>"$dir/web$number.log" &
    pids="$pids $!"
done

export MSYNC_TARGET="tcp:127.0.0.2:$port"
tries=0
until msync members 2>/dev/null | grep -q '^Total: 3 members'; do
    tries=$((tries + 1))
    for pid in $pids; do
        runs "$pid" || fail "a daemon has ended"
    done
    if [ "$tries" -ge 100 ]; then
        msync members >&2
        fail "after 10 s web1 does not see the other three: does a firewall (iptables -L, nft list" \
            "ruleset) drop UDP or multicast on lo?"
    fi
    sleep 0.1
done

heading "They have found each other; nobody told web1 who is there"
echo "\$ export MSYNC_TARGET=$MSYNC_TARGET     # the daemon web1"
run msync members || fail "msync members: status $?"

heading "A tree of this machine, for web1 alone"
# Up to 10,000 entries and 120 MB of what this user can read; no name with a newline, as tar reads
# the names line by line.
(
    cd / || exit 1
    for tree in usr/share usr/include usr/lib etc; do
        [ -d "$tree" ] || continue
        find "$tree" -xdev ! -name '*
*' \( -type d -readable -executable -o -type l -o -type f -readable -size -32768k \) \
            -printf '%s %p\n' 2>/dev/null
    done | awk '{ total += $1; if (NR > 10000 || total > 120e6) exit; sub(/^[0-9]+ /, ""); print }' |
        tar -c -f - --no-recursion --no-unquote -T - 2>/dev/null
) | tar -x -p -f - -C "$dir/web1" 2>/dev/null
entries=$(find "$dir/web1" -mindepth 1 ! -path "*/.makuosan*" | wc -l)
size=$(du -sm "$dir/web1" | cut -f 1)
echo "$entries entries, $size MB, below $dir/web1"
[ "$entries" -ge 1000 ] || fail "this machine has too little to send: $entries entries"

heading "Sent once, by multicast, to all"
run msync send -r --progress || fail "msync send -r: status $?"

heading "Sent again: there is nothing to do"
run msync send -r --progress || fail "msync send -r: status $?"

heading "One file changes"
file=$(cd "$dir/web1" && find . -type f -size -64k ! -path './.makuosan*' -printf '%d %P\n' |
    sort -n | sed -n '1s/^[0-9]* //p')
[ -n "$file" ] || fail "there is no file to change"
chmod u+w "$dir/web1/$file"
echo "\$ echo changed >> $dir/web1/$file"
echo changed >>"$dir/web1/$file" || fail "cannot write to it"
run msync send -v "$file" || fail "msync send: status $?"
for number in 2 3 4; do
    cmp -s "$dir/web1/$file" "$dir/web$number/$file" || fail "it did not arrive at web$number"
done

heading "The four trees are equal"
# Type, mode, owner, mtime to the nanosecond, and size or what a link points to, of every entry.
listing() {
    (cd "$1" && find . -mindepth 1 -path ./.makuosan -prune -o \
        -type d -printf '%y %m %U:%G %T@ %P\n' -o -printf '%y %m %U:%G %T@ %s %P -> %l\n') | sort
}
listing "$dir/web1" >"$dir/web1.list"
for number in 2 3 4; do
    echo "\$ diff -r --no-dereference -x .makuosan $dir/web1 $dir/web$number"
    diff -r --no-dereference -x .makuosan "$dir/web1" "$dir/web$number" >"$dir/diff.log" 2>&1 ||
        fail "web1 and web$number differ"
    listing "$dir/web$number" >"$dir/web$number.list"
    diff "$dir/web1.list" "$dir/web$number.list" >"$dir/diff.log" ||
        fail "modes, owners, times or links of web1 and web$number differ"
done
echo "The same contents, modes, owners, times (to the nanosecond) and links: $(wc -l <"$dir/web1.list") entries each."

heading "The daemons end, and everything is removed"
for pid in $pids; do
    kill "$pid" || fail "a daemon has ended before"
done
for pid in $pids; do
    ends "$pid" || fail "process $pid does not end, or not with status 0"
done
pids=
echo "done"
