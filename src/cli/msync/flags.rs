//! The table of the client's options, and its commands.
#![forbid(unsafe_code)]

use crate::cli::Flag;

/// The commands, each with its one line of help.
pub const COMMANDS: &[(&str, &str)] = &[
    ("send", "send files, or with -r whole trees, to every member"),
    ("sync", "send; a PATH that does not exist here is deleted there"),
    ("dsync", "only delete, on every member, what does not exist here"),
    ("check", "compare contents"),
    ("md5", "the same as check"),
    ("fetch", "make PATH here as it is on another member"),
    ("members", "list the other members of the group"),
    ("status", "show what the daemon is doing"),
    ("doctor", "say what keeps files from arriving, and what to do"),
    ("metrics", "show figures, in the text format of Prometheus"),
    ("history", "list what was sent and received"),
    ("forget", "do not wait any more for a HOST that is away"),
    ("watch", "send PATH, and then what changes, until it is ended"),
    ("flush", "wait until all that was changed before is sent"),
];

/// The commands that earlier versions took for files, and words that are to become commands.
pub(super) const NEW: &[&str] = &[
    "history",
    "fetch",
    "forget",
    "watch",
    "flush",
    "mirror",
    "conflicts",
    "doctor",
    "metrics",
    "rollback",
    "resolve",
];

/// The options that only some commands have, with these commands.
const ONLY: &[(&str, &[&str])] = &[
    ("host", &["send", "sync", "dsync", "check", "watch", "doctor"]),
    ("from", &["fetch"]),
    ("recursive", &["send", "sync", "dsync", "check", "fetch"]),
    ("dry-run", &["send", "sync", "dsync", "fetch"]),
    ("group", &["send", "sync"]),
    ("delete", &["send", "sync", "fetch", "watch"]),
    ("delay", &["watch"]),
    ("delete-before", &["send", "sync", "fetch"]),
    ("force", &["send", "sync", "dsync", "fetch"]),
    ("max-delete", &["send", "sync", "dsync", "fetch"]),
    ("ignore-times", &["send", "sync", "fetch"]),
    ("checksum", &["send", "sync", "fetch"]),
    ("lax-attributes", &["send", "sync", "fetch"]),
    ("require", &["send", "sync", "dsync", "check"]),
    ("files-from", &["send", "check"]),
    ("from0", &["send", "sync", "dsync", "check", "-f", "fetch", "watch"]),
    ("exclude", &["send", "sync", "dsync", "check", "-f", "fetch", "watch"]),
    ("include", &["send", "sync", "dsync", "check", "-f", "fetch", "watch"]),
    ("exclude-from", &["send", "sync", "dsync", "check", "-f", "fetch", "watch"]),
    (
        "json",
        &[
            "send", "sync", "dsync", "check", "members", "status", "doctor", "history", "fetch",
            "forget", "watch", "flush",
        ],
    ),
    ("behind", &["members"]),
    ("no-probe", &["doctor"]),
];

/// Whether an option, by its long name, is one of this command.
pub(super) fn is_option_of(name: &str, long: &str) -> bool {
    let only = ONLY.iter().find(|(only, _)| *only == long);
    only.is_none_or(|(_, commands)| commands.contains(&name))
}

/// Every option, in the order of the help.
pub const FLAGS: &[Flag] = &[
    Flag {
        short: Some('c'),
        long: "connect",
        value: Some("TARGET"),
        help: "the daemon: tcp:HOST[:PORT], unix:PATH or PATH",
        more: "Without it, MSYNC_TARGET of the environment; without that, tcp:127.0.0.1:5000.",
    },
    Flag {
        short: Some('K'),
        long: "password",
        value: Some("FILE"),
        help: "password of the console: the first line of FILE",
        more: "",
    },
    Flag {
        short: Some('t'),
        long: "host",
        value: Some("HOST"),
        help: "this member only; may be repeated",
        more: "HOST is a name or an address as members shows it.",
    },
    Flag {
        short: None,
        long: "from",
        value: Some("HOST"),
        help: "fetch from HOST; else from one that lacks nothing",
        more: "",
    },
    Flag {
        short: Some('r'),
        long: "recursive",
        value: None,
        help: "the whole tree below PATH, or below the base",
        more: "",
    },
    Flag {
        short: Some('n'),
        long: "dry-run",
        value: None,
        help: "only say what would be done",
        more: "",
    },
    Flag {
        short: Some('g'),
        long: "group",
        value: Some("GROUP"),
        help: "group that receivers set for what they write",
        more: "The files on this host keep theirs.",
    },
    Flag {
        short: None,
        long: "delete",
        value: None,
        help: "then delete on members what does not exist here",
        more: "After everything has been sent. If more than half of the entries of a host would go \
               (and at least 100), or nothing is left here, --force is needed.",
    },
    Flag {
        short: None,
        long: "delete-before",
        value: None,
        help: "the same before anything is sent, to make room",
        more: "With the same limits. If they forbid it, what is new is sent all the same.",
    },
    Flag {
        short: None,
        long: "force",
        value: None,
        help: "delete no matter how much that is",
        more: "",
    },
    Flag {
        short: None,
        long: "max-delete",
        value: Some("N"),
        help: "delete nothing if more than N would go on a host",
        more: "",
    },
    Flag {
        short: Some('I'),
        long: "ignore-times",
        value: None,
        help: "treat every file as changed",
        more: "",
    },
    Flag {
        short: None,
        long: "checksum",
        value: None,
        help: "compare contents instead of time and size",
        more: "",
    },
    Flag {
        short: None,
        long: "lax-attributes",
        value: None,
        help: "attributes that cannot be set there are no error",
        more: "Owner, group, permission bits or time, or a device. They are a warning then.",
    },
    Flag {
        short: None,
        long: "require",
        value: Some("N"),
        help: "fail unless N known hosts, or all, have everything",
        more: "N is a number, or all. Hosts that are away are known, too. With -t these alone count.",
    },
    Flag {
        short: None,
        long: "delay",
        value: Some("MS"),
        help: "milliseconds that a change waits for more (100)",
        more: "Only for watch. From 0 to 60000.",
    },
    Flag {
        short: None,
        long: "exclude",
        value: Some("PATTERN"),
        help: "leave out what matches; may be repeated",
        more: "The first pattern that matches decides.",
    },
    Flag {
        short: None,
        long: "include",
        value: Some("PATTERN"),
        help: "do not leave out what matches",
        more: "",
    },
    Flag {
        short: None,
        long: "exclude-from",
        value: Some("FILE"),
        help: "exclude the patterns in FILE, one on each line",
        more: "With - standard input is read. Empty lines are skipped.",
    },
    Flag {
        short: None,
        long: "files-from",
        value: Some("FILE"),
        help: "only the paths in FILE, one on each line",
        more: "Below PATH, or below the base. With - standard input is read. With --delete, those that do \
               not exist here are deleted there.",
    },
    Flag {
        short: Some('0'),
        long: "from0",
        value: None,
        help: "paths and patterns in files end with a NUL",
        more: "",
    },
    Flag {
        short: Some('f'),
        long: "script",
        value: Some("FILE"),
        help: "send the lines of FILE to the console",
        more: "Instead of a command. With - standard input is read. Empty lines and lines that start \
               with # are skipped.",
    },
    Flag {
        short: Some('v'),
        long: "verbose",
        value: None,
        help: "-v is -l 1, -vv is -l 2; more about members",
        more: "Also show the summary where there is no terminal.",
    },
    Flag {
        short: Some('l'),
        long: "loglevel",
        value: Some("N"),
        help: "lines to show: 0 errors, 1 updates, 2 skips (0 to 9)",
        more: "",
    },
    Flag {
        short: None,
        long: "progress",
        value: None,
        help: "show progress and a summary (as on a terminal)",
        more: "",
    },
    Flag { short: None, long: "no-progress", value: None, help: "show no progress", more: "" },
    Flag {
        short: Some('q'),
        long: "quiet",
        value: None,
        help: "show only what went wrong",
        more: "Overrides -v, -l and --progress.",
    },
    Flag {
        short: None,
        long: "json",
        value: None,
        help: "print errors and results in JSON, one object per line",
        more: "",
    },
    Flag { short: None, long: "sync", value: None, help: "the same as the command sync", more: "" },
    Flag {
        short: None,
        long: "check",
        value: None,
        help: "the same as the command check",
        more: "",
    },
    Flag {
        short: None,
        long: "members",
        value: None,
        help: "the same as the command members",
        more: "",
    },
    Flag {
        short: None,
        long: "behind",
        value: None,
        help: "of members, only hosts that lack something (exit 2)",
        more: "Also those that are away.",
    },
    Flag {
        short: None,
        long: "no-probe",
        value: None,
        help: "of doctor: send no packets to find out",
        more: "",
    },
    Flag {
        short: None,
        long: "status",
        value: None,
        help: "the same as the command status",
        more: "",
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
