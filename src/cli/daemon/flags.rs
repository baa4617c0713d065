//! The table of the daemon's options.
#![forbid(unsafe_code)]

use crate::cli::Flag;

/// Every option, in the order of the help.
pub const FLAGS: &[Flag] = &[
    Flag {
        short: Some('b'),
        long: "base",
        value: Some("DIR"),
        help: "base directory: what is sent and written is below it",
        more: "Required, here or as MAKUOSAN_BASE. The daemon reads and writes nothing outside it.",
    },
    Flag {
        short: Some('n'),
        long: "foreground",
        value: None,
        help: "stay in the foreground, log to standard error",
        more: "",
    },
    Flag {
        short: Some('d'),
        long: "loglevel",
        value: Some("LEVEL"),
        help: "how much to log, 0 to 9 (1)",
        more: "",
    },
    Flag {
        short: Some('m'),
        long: "multicast",
        value: Some("ADDR"),
        help: "multicast group (224.0.0.108)",
        more: "Daemons of the same group address and port are members of one fleet.",
    },
    Flag {
        short: Some('p'),
        long: "port",
        value: Some("PORT"),
        help: "UDP port of the group, TCP port of the console (5000)",
        more: "",
    },
    Flag {
        short: Some('i'),
        long: "interface",
        value: Some("IFACE"),
        help: "network interface to use: its address or name",
        more: "By its name, its first IPv4 address is used, and followed when it changes. Without \
               this option the system's route to the group decides. With an address in 127.0.0.0/8 \
               the group is on the loopback interface, so that a fleet can run on one machine, \
               each daemon with its own loopback address.",
    },
    Flag {
        short: Some('l'),
        long: "listen",
        value: Some("ADDR"),
        help: "where the console listens: IP or IP:PORT (127.0.0.1)",
        more: "The port defaults to that of -p. Without this option the console listens on the \
               address of -i if that is in 127.0.0.0/8, else on 127.0.0.1; or on no TCP address \
               at all if -U is given. Whoever can reach the console can command the daemon.",
    },
    Flag {
        short: Some('U'),
        long: "unix",
        value: Some("PATH"),
        help: "Unix socket of the console, instead of TCP",
        more: "With -l too, the console listens on both.",
    },
    Flag {
        short: Some('u'),
        long: "user",
        value: Some("USER"),
        help: "user to run as, name or number",
        more: "",
    },
    Flag {
        short: Some('g'),
        long: "group",
        value: Some("GROUP"),
        help: "group to run as, name or number",
        more: "",
    },
    Flag {
        short: Some('G'),
        long: "groups",
        value: Some("GROUPS"),
        help: "supplementary groups, separated by commas",
        more: "Received files keep their group if it is one of these or that of -g.",
    },
    Flag {
        short: Some('c'),
        long: "chroot",
        value: None,
        help: "make the base directory the root directory",
        more: "Needs root. With -u the daemon cannot leave it again. The socket of -U is then not \
               removed at the end; the next start replaces it.",
    },
    Flag {
        short: Some('k'),
        long: "key",
        value: Some("FILE"),
        help: "key of the group: the first line of FILE",
        more: "All members must have the same key. Given twice, packets are sealed with the first \
               key and opened with either, so that a key can be replaced.",
    },
    Flag {
        short: None,
        long: "genkey",
        value: Some("FILE"),
        help: "write a new key to FILE, mode 0600, and exit",
        more: "An existing file is not overwritten; that is an error.",
    },
    Flag {
        short: Some('K'),
        long: "password",
        value: Some("FILE"),
        help: "password of the console: the first line of FILE",
        more: "Read before root is given up. Clients must send it first; after three wrong ones, by \
               any clients, one attempt in two seconds is answered.",
    },
    Flag {
        short: Some('f'),
        long: "parallel",
        value: Some("N"),
        help: "batches in flight at once, 1 to 16 (8)",
        more: "",
    },
    Flag {
        short: Some('T'),
        long: "rate",
        value: Some("MBPS"),
        help: "send at most this many megabits a second",
        more: "",
    },
    Flag {
        short: Some('R'),
        long: "rcvbuf",
        value: Some("BYTES"),
        help: "receive buffer of the sockets; k, m, g may follow",
        more: "",
    },
    Flag {
        short: Some('S'),
        long: "sndbuf",
        value: Some("BYTES"),
        help: "send buffer of the sockets; k, m, g may follow",
        more: "",
    },
    Flag {
        short: Some('N'),
        long: "name",
        value: Some("NAME"),
        help: "this host's name among the members (the machine's)",
        more: "",
    },
    Flag {
        short: Some('r'),
        long: "readonly",
        value: None,
        help: "never write; senders are told that it is read-only",
        more: "",
    },
    Flag { short: Some('s'), long: "no-send", value: None, help: "never send", more: "" },
    Flag {
        short: Some('o'),
        long: "no-recv",
        value: None,
        help: "never receive; other hosts do not send to this one",
        more: "",
    },
    Flag {
        short: Some('O'),
        long: "own-only",
        value: None,
        help: "send only what the daemon's user owns",
        more: "",
    },
    Flag {
        short: None,
        long: "no-devices",
        value: None,
        help: "take no device nodes from other hosts",
        more: "A device that a member sends is an error of its own; the rest is taken.",
    },
    Flag {
        short: Some('w'),
        long: "watch",
        value: Some("PATH"),
        help: "send PATH and what changes in it; may be repeated",
        more: "PATH is a directory below the base directory, or . for all of it. Who is away gets it when it is \
               back.",
    },
    Flag {
        short: None,
        long: "watch-delete",
        value: None,
        help: "with -w: what goes here is deleted on members",
        more: "",
    },
    Flag {
        short: None,
        long: "mirror",
        value: Some("PATH"),
        help: "keep PATH equal on all hosts with this option",
        more: "Each may write to it; each has what the others have written and deleted, also while it was \
               away. PATH is a directory below the base directory, made if it is missing, or . for all of it. May be \
               repeated; not with -r, -s, -o or -O.",
    },
    Flag {
        short: None,
        long: "first",
        value: None,
        help: "with --mirror: if all are new, these files count",
        more: "On one host, at the first start of a mirror: what is here is the origin of the others.",
    },
    Flag {
        short: None,
        long: "delay",
        value: Some("MS"),
        help: "with -w, --mirror: ms a change waits for more (100)",
        more: "From 0 to 60000.",
    },
    Flag {
        short: None,
        long: "exclude",
        value: Some("PATTERN"),
        help: "with -w, --mirror: leave out what matches; repeatable",
        more: "The first pattern that matches decides; last come those of the temporary files of editors.",
    },
    Flag {
        short: None,
        long: "include",
        value: Some("PATTERN"),
        help: "with -w, --mirror: do not leave out what matches",
        more: "",
    },
    Flag {
        short: None,
        long: "exclude-from",
        value: Some("FILE"),
        help: "with -w, --mirror: exclude the patterns in FILE",
        more: "",
    },
    Flag {
        short: None,
        long: "state",
        value: Some("DIR"),
        help: "directory for what outlives the daemon",
        more: "Instead of .makuosan in the base directory; needed if that is not written to (-r, -o). \
               Made if it is missing. Not with -c.",
    },
    Flag {
        short: None,
        long: "no-catch-up",
        value: None,
        help: "keep no records of what is sent and received",
        more: "This host does not get by itself what it missed, and no other gets it from here.",
    },
    Flag {
        short: None,
        long: "catch-up",
        value: Some("always"),
        help: "also get what was sent before this host was new",
        more: "Without it, a host that has files and no records takes nothing by itself.",
    },
    Flag {
        short: None,
        long: "pidfile",
        value: Some("FILE"),
        help: "write the process id there, and remove it at the end",
        more: "Refused if a running daemon has it; a file left by a dead daemon is replaced.",
    },
    Flag {
        short: None,
        long: "metrics-file",
        value: Some("FILE"),
        help: "write figures for Prometheus there every 15 seconds",
        more: "As those of msync metrics, for the textfile collector of node_exporter, which reads files whose \
               name ends with .prom.",
    },
    Flag {
        short: None,
        long: "timeout",
        value: Some("S"),
        help: "seconds until a silent host is left behind (10)",
        more: "From 1 to 3600.",
    },
    Flag {
        short: None,
        long: "ttl",
        value: Some("N"),
        help: "routers that a multicast packet may pass, plus 1 (1)",
        more: "",
    },
    Flag {
        short: None,
        long: "fsync",
        value: None,
        help: "report files as written only when they are on disk",
        more: "",
    },
    Flag {
        short: Some('C'),
        long: "core",
        value: None,
        help: "allow a core dump when the daemon crashes",
        more: "",
    },
    Flag {
        short: None,
        long: "check-config",
        value: None,
        help: "print what the daemon would do, and exit",
        more: "Exit status 0, or 1 with the first thing that is wrong. Nothing is started; a running \
               daemon with the same options does not matter.",
    },
    Flag {
        short: Some('V'),
        long: "version",
        value: None,
        help: "print the version and exit",
        more: "",
    },
    Flag { short: Some('h'), long: "help", value: None, help: "print this and exit", more: "" },
];

/// Variables of the environment that stand for an option that was not given.
pub const VARIABLES: &[(&str, &str)] = &[
    ("MAKUOSAN_BASE", "base"),
    ("MAKUOSAN_PORT", "port"),
    ("MAKUOSAN_USER", "user"),
    ("MAKUOSAN_GROUP", "group"),
    ("MAKUOSAN_GROUPS", "groups"),
    ("MAKUOSAN_SOCK", "unix"),
    ("MAKUOSAN_RCVBUF", "rcvbuf"),
    ("MAKUOSAN_SNDBUF", "sndbuf"),
];
