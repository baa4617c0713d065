//! The table of the client's options, and its commands.
#![forbid(unsafe_code)]

use crate::cli::Flag;

/// The commands, each with its one line of help.
pub const COMMANDS: &[(&str, &str)] = &[
    ("send", "send files, or with -r whole trees, to every member"),
    ("members", "list the other members of the group"),
    ("status", "show what the daemon is doing"),
];

/// Words that are kept for commands to come, so that a script never sends a file by such a name
/// by accident today and runs a command tomorrow.
pub const RESERVED: &[&str] = &["sync", "dsync", "check", "md5"];

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
        short: Some('t'),
        long: "host",
        value: Some("HOST"),
        help: "send to this member alone; many -t add up",
        more: "HOST is a name as members lists it.",
    },
    Flag {
        short: Some('r'),
        long: "recursive",
        value: None,
        help: "send the whole tree below PATH, or below the base",
        more: "",
    },
    Flag {
        short: Some('n'),
        long: "dry-run",
        value: None,
        help: "only say what would be sent",
        more: "",
    },
    Flag {
        short: Some('v'),
        long: "verbose",
        value: None,
        help: "-v is -l 1, -vv is -l 2",
        more: "Also shows the summary where there is no terminal.",
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
        help: "show errors alone",
        more: "Wins over -v, -l and --progress.",
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
