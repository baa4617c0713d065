//! The options of the daemon, `makuosan`.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::filter::filters;
use super::{Asked, DEFAULT_PORT, Error, Filter, Flag, Text, Typed, value};
use crate::console::MAX_DELAY;
use crate::name::{HostName, Interface, RelPath};
use crate::time::Span;

mod config;
mod flags;

pub use config::{
    CatchUp, Config, Console, Files, Limits, Mirror, Network, Privileges, Roles, Watch,
};
pub use flags::{FLAGS, VARIABLES};

const PROGRAM: &str = "makuosan";

/// The multicast group, unless `-m` says otherwise.
pub const DEFAULT_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 108);

/// The most keys.
const MAX_KEYS: usize = 2;

/// Reads the arguments (without the program's name) and, where an option is missing, the
/// environment.
///
/// # Errors
/// The first error, in one line; the help if there is neither an argument nor a base directory.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Asked<Config>, Error> {
    let mut args = args.into_iter().peekable();
    let bare = args.peek().is_none();
    let typed = Typed::parse(PROGRAM, FLAGS, args)?;
    if typed.has("help") {
        return Ok(Asked::Print(help()));
    }
    if typed.has("version") {
        return Ok(Asked::Print(super::version(PROGRAM)));
    }
    if let Some(word) = typed.words().0.first() {
        let shown = crate::name::Escaped(word.as_bytes());
        return Err(Error::new(PROGRAM, format_args!("{shown}: not an option")));
    }
    let source = Source { typed, env: &env };
    if bare && source.value("base").is_none() {
        return Err(Error::Nothing(help().trim_end().to_owned()));
    }
    Config::resolve(&source).map(Asked::Run)
}

/// What `--help` prints.
pub fn help() -> String {
    let head = "Usage: makuosan -b DIR [OPTIONS]\n\
                Sends files below DIR to the members of its group, and receives theirs.\n\
                Commands come from msync.\n";
    let mut tail = String::from("Environment, where the option is not given:\n ");
    for (variable, long) in VARIABLES {
        if tail.len() - tail.rfind('\n').unwrap_or(0) + variable.len() > 70 {
            tail.push_str("\n ");
        }
        let flag = FLAGS.iter().find(|flag| flag.long == *long);
        let spelled = flag.map(Flag::spelled).unwrap_or_default();
        tail.push_str(&format!(" {variable} ({spelled})"));
    }
    tail.push('\n');
    super::help(head, FLAGS, &tail)
}

/// Where values come from: the command line first, then the environment.
struct Source<'a> {
    typed: Typed,
    env: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Source<'_> {
    /// The value of an option, and the name of its source for messages.
    fn value(&self, long: &str) -> Option<(String, OsString)> {
        if let Some(value) = self.typed.last(long) {
            let flag = FLAGS.iter().find(|flag| flag.long == long);
            return Some((flag.map(Flag::spelled).unwrap_or_default(), value));
        }
        let (variable, _) = VARIABLES.iter().find(|(_, of)| *of == long)?;
        let value = (self.env)(variable).filter(|value| !value.is_empty())?;
        Some(((*variable).to_owned(), value))
    }

    /// The value of an option, parsed by `read`; `must` says in an error what it must be.
    fn read<T>(
        &self,
        long: &str,
        must: &str,
        read: impl FnOnce(&OsStr) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some((name, value)) = self.value(long) else { return Ok(None) };
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::bad_value(PROGRAM, &name, &value, must)),
        }
    }

    fn number<T>(&self, long: &str, what: &str, least: T, most: T) -> Result<Option<T>, Error>
    where
        T: TryFrom<u64> + Copy + fmt::Display,
        u64: From<T>,
    {
        let must = format!("{what} is {least} to {most}");
        let range = u64::from(least)..=u64::from(most);
        self.read(long, &must, |v| T::try_from(value::number(v, range)?).ok())
    }
}

/// The name or number of a user or group.
fn account(value: &OsStr) -> Option<String> {
    let text = value.to_str()?;
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == ':' || c == ',';
    (!text.is_empty() && !text.contains(odd)).then(|| text.to_owned())
}

/// A buffer for `setsockopt`, which takes an `int`.
fn buffer(value: &OsStr) -> Option<u32> {
    value::bytes(value, 1..=0x7fff_ffff).and_then(|bytes| u32::try_from(bytes).ok())
}

fn some_path(value: &OsStr) -> Option<PathBuf> {
    (!value.is_empty()).then(|| PathBuf::from(value))
}

fn text<T: std::str::FromStr>(value: &OsStr) -> Option<T> {
    value.to_str()?.parse().ok()
}

impl Config {
    fn resolve(source: &Source<'_>) -> Result<Config, Error> {
        let typed = &source.typed;
        let genkey = source.read("genkey", "must not be empty", some_path)?;
        let base = match source.read("base", "must not be empty", some_path)? {
            Some(base) => base,
            None if genkey.is_some() => PathBuf::new(),
            None => return Err(Error::new(PROGRAM, "-b DIR: a base directory is required")),
        };
        let keys: Vec<PathBuf> = typed.all("key").into_iter().map(PathBuf::from).collect();
        if keys.iter().any(|path| path.as_os_str().is_empty()) {
            return Err(Error::bad_value(PROGRAM, "-k", OsStr::new(""), "must not be empty"));
        }
        if keys.len() > MAX_KEYS {
            return Err(Error::new(PROGRAM, format_args!("-k: at most {MAX_KEYS} keys")));
        }
        let port = source.number("port", "a port", 1, u16::MAX)?.unwrap_or(DEFAULT_PORT);
        let multicast = source.read("multicast", "not an IPv4 multicast address", |v| {
            text(v).filter(Ipv4Addr::is_multicast)
        })?;
        let interface_is = "not the IPv4 address or the name of an interface";
        let interface =
            source.read("interface", interface_is, |v| Interface::parse(v.to_str()?))?;
        let interface = interface.unwrap_or(Interface::Any);
        let listen = source.read("listen", "a listen address is IP or IP:PORT", |v| {
            text::<SocketAddr>(v)
                .filter(|address| address.port() != 0)
                .or_else(|| Some(SocketAddr::new(text::<IpAddr>(v)?, port)))
        })?;
        // `sun_path` has 108 bytes with its NUL (unix(7)).
        let unix = source.read("unix", "a socket's path has 1 to 107 bytes", |v| {
            some_path(v).filter(|path| path.as_os_str().len() < 108)
        })?;
        let account_is = "must be a name or a number, without spaces";
        let groups =
            source.read("groups", "must be names or numbers, separated by commas", |v| {
                v.to_str()?.split(',').map(|one| account(OsStr::new(one))).collect()
            })?;
        let bytes_are = "must be a number of bytes, 1 to 2147483647; k, m, g may follow";
        let seconds = source.number("timeout", "a timeout in seconds", 1, 3_600_u32)?;
        let network = Network {
            multicast: multicast.unwrap_or(DEFAULT_GROUP),
            port,
            interface,
            ttl: source.number("ttl", "a TTL", 1, u8::MAX)?.unwrap_or(1),
            rcvbuf: source.read("rcvbuf", bytes_are, buffer)?,
            sndbuf: source.read("sndbuf", bytes_are, buffer)?,
            name: source.read("name", &crate::name::HostNameError.to_string(), |v| {
                HostName::parse(v.as_bytes()).ok()
            })?,
        };
        let console = Console {
            listen: listen.or_else(|| {
                let address = match &network.interface {
                    Interface::Address(own) if own.is_loopback() => *own,
                    _ => Ipv4Addr::LOCALHOST,
                };
                unix.is_none().then(|| SocketAddr::new(address.into(), port))
            }),
            unix,
            password: source.read("password", "must not be empty", some_path)?,
        };
        let files = Files {
            base,
            keys,
            pidfile: source.read("pidfile", "must not be empty", some_path)?,
            metrics: source.read("metrics-file", "must not be empty", some_path)?,
            state: source.read("state", "must not be empty", some_path)?,
            fsync: typed.has("fsync"),
        };
        let privileges = Privileges {
            user: source.read("user", account_is, account)?,
            group: source.read("group", account_is, account)?,
            groups,
            chroot: typed.has("chroot"),
            core_dumps: typed.has("core"),
        };
        if privileges.chroot && files.state.is_some() {
            // It would lead out of the chroot.
            return Err(Error::new(PROGRAM, "--state: cannot be used with -c"));
        }
        let limits = Limits {
            parallel: source
                .number("parallel", "a number of batches", 1, 16_u8)?
                .unwrap_or(8)
                .into(),
            rate: source.number("rate", "a rate in Mbit/s", 1, 1_000_000)?,
            timeout: Span::from_secs(seconds.unwrap_or(10).into()),
        };
        let always = |value: &OsStr| (value == "always").then_some(CatchUp::Always);
        let catch_up = match (
            source.read("catch-up", "can only be always", always)?,
            typed.has("no-catch-up"),
        ) {
            (Some(_), true) => {
                let both = "--no-catch-up: cannot be used with --catch-up";
                return Err(Error::new(PROGRAM, both));
            }
            (None, true) => CatchUp::Never,
            (None, false) => CatchUp::Known,
            (Some(always), false) => always,
        };
        let roles = Roles {
            readonly: typed.has("readonly"),
            no_send: typed.has("no-send"),
            no_recv: typed.has("no-recv"),
            own_only: typed.has("own-only"),
            no_devices: typed.has("no-devices"),
            catch_up,
        };
        let (watch, mirror) = (watch(source, roles.no_send)?, mirror(source, &roles)?);
        needs(&watch, &mirror, typed)?;
        Ok(Config {
            network,
            console,
            files,
            privileges,
            limits,
            roles,
            watch,
            mirror,
            foreground: typed.has("foreground"),
            loglevel: source.number("loglevel", "a log level", 0, 9)?.unwrap_or(1),
            genkey,
            check_config: typed.has("check-config"),
        })
    }
}

/// The directories of an option, none in another.
fn directories(source: &Source<'_>, long: &str, name: &str) -> Result<Vec<RelPath>, Error> {
    let mut paths: Vec<RelPath> = Vec::new();
    for text in source.typed.all(long) {
        let bad = |why: &dyn fmt::Display| Err(Error::bad_value(PROGRAM, name, &text, why));
        let path = match text.as_bytes() {
            b"." | b"./" => RelPath::base(),
            bytes => match RelPath::parse(trimmed(bytes)) {
                Ok(path) => path,
                Err(why) => {
                    return bad(&format_args!("{why} (it is relative to the base directory)"));
                }
            },
        };
        if let Some(other) = overlapping(&paths, &path) {
            return bad(&format_args!("{other} is given already"));
        }
        paths.push(path);
    }
    Ok(paths)
}

/// The one of some directories that has something in common with `path`, as it is shown.
fn overlapping(paths: &[RelPath], path: &RelPath) -> Option<String> {
    let other = paths.iter().find(|one| one.is_under(path) || path.is_under(one))?;
    Some(if other.is_base() { ".".to_owned() } else { other.to_string() })
}

/// `-w` and what belongs to it.
fn watch(source: &Source<'_>, no_send: bool) -> Result<Watch, Error> {
    let typed = &source.typed;
    let paths = directories(source, "watch", "-w")?;
    if no_send && !paths.is_empty() {
        return Err(Error::new(PROGRAM, "-w: cannot be used with -s, with which nothing is sent"));
    }
    let what = "a delay in milliseconds";
    let watch = Watch {
        paths,
        delete: typed.has("watch-delete"),
        delay: source.number("delay", what, 0, MAX_DELAY)?.map(Span::from_millis),
        filters: filters(PROGRAM, typed)?,
    };
    if watch.filters.contains(&Filter::From(Text::Input)) {
        return Err(Error::new(PROGRAM, "--exclude-from -: a daemon has no standard input"));
    }
    Ok(watch)
}

/// `--mirror` and what belongs to it.
fn mirror(source: &Source<'_>, roles: &Roles) -> Result<Mirror, Error> {
    let paths = directories(source, "mirror", "--mirror")?;
    let first = source.typed.has("first");
    let against = [
        ("-r", roles.readonly, "which never writes"),
        ("-s", roles.no_send, "which never sends"),
        ("-o", roles.no_recv, "which never receives"),
        ("-O", roles.own_only, "which does not send everything"),
    ];
    if let Some((option, _, why)) = against.iter().find(|(_, is, _)| *is && !paths.is_empty()) {
        let text = format_args!("--mirror: cannot be used with {option}, {why}: equals do both");
        return Err(Error::new(PROGRAM, text));
    }
    Ok(Mirror { paths, first })
}

/// Makes sure that options are given with what they belong to, and that what is watched is no mirror.
fn needs(watch: &Watch, mirror: &Mirror, typed: &Typed) -> Result<(), Error> {
    for path in &mirror.paths {
        if let Some(watched) = overlapping(&watch.paths, path) {
            let path = if path.is_base() { ".".to_owned() } else { path.to_string() };
            let text =
                format_args!("--mirror {path}: {watched} is watched (-w): it is one or the other");
            return Err(Error::new(PROGRAM, text));
        }
    }
    let neither = watch.paths.is_empty() && mirror.paths.is_empty();
    let needs: [(&[&str], bool, &str); 3] = [
        (&["watch-delete"], watch.paths.is_empty(), "-w"),
        (&["first"], mirror.paths.is_empty(), "--mirror"),
        (&["delay", "exclude", "include", "exclude-from"], neither, "-w or --mirror"),
    ];
    for (options, lacks, what) in needs {
        if let Some(long) = options.iter().find(|long| typed.has(long)).filter(|_| lacks) {
            return Err(Error::new(PROGRAM, format_args!("--{long}: needs {what}")));
        }
    }
    Ok(())
}

/// A path without what makes no difference.
fn trimmed(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Asked<Config>, Error> {
        parse(args.iter().map(OsString::from), |name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn config(args: &[&str]) -> Config {
        match run(args, &[]) {
            Ok(Asked::Run(config)) => config,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn error(args: &[&str]) -> String {
        run(args, &[]).unwrap_err().to_string()
    }

    /// One way to give each option a value that is not its default.
    fn sample(long: &str) -> &'static str {
        match long {
            "loglevel" => "3",
            "multicast" => "239.1.2.3",
            "port" => "5001",
            "interface" => "127.0.0.2",
            "listen" => "10.0.0.1",
            "unix" => "/run/makuosan.sock",
            "user" => "www",
            "group" => "33",
            "groups" => "a,b",
            "parallel" => "16",
            "rate" => "100",
            "rcvbuf" => "8m",
            "sndbuf" => "512k",
            "name" => "web1",
            "timeout" => "30",
            "ttl" => "4",
            "catch-up" => "always",
            "watch" | "mirror" => "htdocs",
            "delay" => "500",
            _ => "/other",
        }
    }

    #[test]
    fn every_option_of_the_table_does_something_by_both_names() {
        for flag in FLAGS {
            // Some options are nothing without others.
            let base: &[&str] = match flag.help.split(':').next() {
                Some("with --mirror") => &["-b", "/base", "--mirror", "d"],
                Some(with) if with.starts_with("with -w") => &["-b", "/base", "-w", "d"],
                _ => &["-b", "/base"],
            };
            let plain = config(base);
            let mut long = vec![format!("--{}", flag.long)];
            let mut short: Vec<String> = flag.short.iter().map(|c| format!("-{c}")).collect();
            if flag.value.is_some() {
                long.push(sample(flag.long).to_owned());
                short.extend(flag.short.map(|_| sample(flag.long).to_owned()));
            }
            let go = |args: &[String]| {
                let more = args.iter().map(String::as_str);
                let args: Vec<&str> = base.iter().copied().chain(more).collect();
                run(&args, &[])
            };
            let asked = go(&long).unwrap();
            assert_ne!(asked, Asked::Run(plain.clone()), "{flag:?}");
            if !short.is_empty() {
                assert_eq!(go(&short).unwrap(), asked, "{flag:?}");
            }
        }
    }

    #[test]
    fn defaults() {
        let config = config(&["-b", "/base"]);
        assert_eq!(config.files.base, PathBuf::from("/base"));
        assert_eq!(config.network.multicast, Ipv4Addr::new(224, 0, 0, 108));
        assert_eq!(config.network.port, 5000);
        assert_eq!(config.console.listen, Some("127.0.0.1:5000".parse().unwrap()));
        assert_eq!((config.limits.parallel, config.network.ttl, config.loglevel), (8, 1, 1));
        assert_eq!(config.limits.timeout, Span::from_secs(10));
        assert_eq!(
            (config.network.interface, config.limits.rate, config.network.name),
            (Interface::Any, None, None)
        );
    }

    #[test]
    fn the_console_listens_where_it_is_reached_and_nowhere_else() {
        let listen = |args: &[&str]| {
            let args: Vec<&str> = ["-b", "/base"].iter().chain(args).copied().collect();
            config(&args).console.listen.map(|address| address.to_string())
        };
        assert_eq!(listen(&["-i", "127.0.0.3"]).as_deref(), Some("127.0.0.3:5000"));
        assert_eq!(listen(&["-i", "10.0.0.3"]).as_deref(), Some("127.0.0.1:5000"));
        assert_eq!(listen(&["-i", "lo"]).as_deref(), Some("127.0.0.1:5000"));
        assert_eq!(listen(&["-p", "6000"]).as_deref(), Some("127.0.0.1:6000"));
        assert_eq!(listen(&["-l", "10.0.0.3"]).as_deref(), Some("10.0.0.3:5000"));
        assert_eq!(listen(&["-l", "10.0.0.3:7", "-p", "6"]).as_deref(), Some("10.0.0.3:7"));
        assert_eq!(listen(&["-l", "::1"]).as_deref(), Some("[::1]:5000"));
        assert_eq!(listen(&["-U", "/s"]), None);
        assert_eq!(listen(&["-U", "/s", "-i", "127.0.0.2"]), None);
        assert_eq!(listen(&["-U", "/s", "-l", "::1"]).as_deref(), Some("[::1]:5000"));
    }

    #[test]
    fn a_bad_value_is_one_line_with_its_option() {
        assert_eq!(error(&["-b/", "-p", "70000"]), "makuosan: -p 70000: a port is 1 to 65535");
        assert_eq!(error(&["-b/", "--port=0"]), "makuosan: -p 0: a port is 1 to 65535");
        assert_eq!(
            error(&["-b/", "-m", "10.0.0.1"]),
            "makuosan: -m 10.0.0.1: not an IPv4 multicast address"
        );
        assert_eq!(error(&["-b/", "--ttl", "x\n"]), "makuosan: --ttl x\\012: a TTL is 1 to 255");
        assert_eq!(error(&["-b/", "-z"]), "makuosan: -z: no such option");
        assert_eq!(error(&["-b/", "--zz"]), "makuosan: --zz: no such option");
        assert_eq!(error(&["-b/", "--fsync=1"]), "makuosan: --fsync: takes no value");
        assert_eq!(error(&["-b"]), "makuosan: -b: a value is missing");
        assert_eq!(error(&["-b/", "dir"]), "makuosan: dir: not an option");
        assert_eq!(error(&["-n"]), "makuosan: -b DIR: a base directory is required");
        let bad = [
            ["-b", ""],
            ["-d", "10"],
            ["-i", "eth 0"],
            ["-i", "10.0.0"],
            ["-i", "::1"],
            ["-i", "224.0.0.1"],
            ["-l", "localhost"],
            ["-l", "1.2.3.4:0"],
            ["-l", "1.2.3.4:99999"],
            ["-U", ""],
            ["-u", "a b"],
            ["-g", ""],
            ["-G", "a,,b"],
            ["-f", "0"],
            ["-f", "17"],
            ["-T", "0"],
            ["-R", "4g"],
            ["-S", "many"],
            ["-N", "a b"],
            ["-K", ""],
            ["-k", ""],
            ["--genkey", ""],
            ["--pidfile", ""],
            ["--timeout", "0"],
            ["--ttl", "256"],
            ["--state", ""],
            ["--catch-up", "never"],
        ];
        for [name, value] in bad {
            let text = error(&["-b/", name, value]);
            assert!(text.starts_with(&format!("makuosan: {name} {value}: ")), "{text}");
            assert_eq!(text.lines().count(), 1);
        }
    }

    #[test]
    fn what_a_host_does_about_what_it_missed_is_said_once() {
        let how = |args: &[&str]| {
            let args: Vec<&str> = ["-b/"].iter().chain(args).copied().collect();
            config(&args).roles.catch_up
        };
        assert_eq!(how(&[]), CatchUp::Known);
        assert_eq!(how(&["--no-catch-up"]), CatchUp::Never);
        assert_eq!(how(&["--catch-up=always"]), CatchUp::Always);
        assert_eq!(
            error(&["-b/", "--no-catch-up", "--catch-up", "always"]),
            "makuosan: --no-catch-up: cannot be used with --catch-up"
        );
        assert_eq!(config(&["-b/", "--state", "/s"]).files.state, Some(PathBuf::from("/s")));
        assert_eq!(
            error(&["-b/", "--state", "/s", "-c"]),
            "makuosan: --state: cannot be used with -c"
        );
    }

    #[test]
    fn a_mirror_is_its_own_tree_of_a_host_that_sends_and_receives() {
        let mirror = config(&["-b/", "--mirror", "./a/", "--mirror=b/c", "--first"]).mirror;
        let shown: Vec<String> = mirror.paths.iter().map(ToString::to_string).collect();
        assert_eq!((shown, mirror.first), (vec!["a".to_owned(), "b/c".to_owned()], true));
        assert!(config(&["-b/", "--mirror", "."]).mirror.paths[0].is_base());
        let both = config(&["-b/", "--mirror", "a", "-w", "b", "--delay", "7", "--exclude", "x"]);
        assert_eq!(both.watch.delay, Some(Span::from_millis(7)));
        assert_eq!((both.mirror.paths.len(), both.watch.filters.len()), (1, 1));
        let role = |option: &str, why: &str| {
            let text =
                format!("makuosan: --mirror: cannot be used with {option}, {why}: equals do both");
            assert_eq!(error(&["-b/", "--mirror", "a", option]), text);
            // Of a host that mirrors nothing, each is well.
            let _ = config(&["-b/", option]);
        };
        role("-r", "which never writes");
        role("-s", "which never sends");
        role("-o", "which never receives");
        role("-O", "which does not send everything");
        for (mirrored, watched, shown) in [
            ("a", "a", "a"),
            ("a/b", "a", "a"),
            ("a", "a/b", "a/b"),
            (".", "a", "a"),
            ("a", ".", "."),
        ] {
            assert_eq!(
                error(&["-b/", "--mirror", mirrored, "-w", watched]),
                format!(
                    "makuosan: --mirror {mirrored}: {shown} is watched (-w): it is one or the other"
                )
            );
        }
        for (one, other) in [("a", "a"), ("a", "a/b"), ("a/b", "a"), (".", "a"), ("a", ".")] {
            assert_eq!(
                error(&["-b/", "--mirror", one, "--mirror", other]),
                format!("makuosan: --mirror {other}: {one} is given already")
            );
        }
        // As names, these only begin alike.
        assert_eq!(
            config(&["-b/", "--mirror", "a", "-w", "ab", "--mirror", "a-b"]).mirror.paths.len(),
            2
        );
        for bad in ["", "/a", "../a", "a/../b", ".makuosan"] {
            let text = error(&["-b/", "--mirror", bad]);
            assert!(text.starts_with(&format!("makuosan: --mirror {bad}: ")), "{text}");
        }
        assert_eq!(error(&["-b/", "--first"]), "makuosan: --first: needs --mirror");
        assert_eq!(error(&["-b/", "--first", "-w", "a"]), "makuosan: --first: needs --mirror");
        assert_eq!(
            error(&["-b/", "--mirror", "a", "--watch-delete"]),
            "makuosan: --watch-delete: needs -w"
        );
        for option in [["--delay", "5"], ["--exclude", "x"], ["--include", "x"]] {
            let [long, value] = option;
            assert_eq!(
                error(&["-b/", long, value]),
                format!("makuosan: {long}: needs -w or --mirror")
            );
        }
        assert_eq!(
            error(&["-b/", "--mirror", "a", "--exclude-from", "-"]),
            "makuosan: --exclude-from -: a daemon has no standard input"
        );
    }

    #[test]
    fn keys_add_up_to_two_and_one_can_be_made_without_a_base() {
        assert!(config(&["-b/"]).files.keys.is_empty());
        assert_eq!(
            config(&["-b/", "-k", "new", "--key=old"]).files.keys,
            ["new", "old"].map(PathBuf::from)
        );
        assert_eq!(error(&["-b/", "-ka", "-kb", "-kc"]), "makuosan: -k: at most 2 keys");
        let made = config(&["--genkey", "/key"]);
        assert_eq!((made.genkey, made.files.base), (Some(PathBuf::from("/key")), PathBuf::new()));
        assert_eq!(config(&["-b/"]).genkey, None);
    }

    #[test]
    fn the_environment_fills_in_and_options_win() {
        let env = [
            ("MAKUOSAN_BASE", "/env"),
            ("MAKUOSAN_PORT", "5001"),
            ("MAKUOSAN_USER", "u"),
            ("MAKUOSAN_GROUP", "g"),
            ("MAKUOSAN_GROUPS", "a,b"),
            ("MAKUOSAN_SOCK", "/sock"),
            ("MAKUOSAN_RCVBUF", "1m"),
            ("MAKUOSAN_SNDBUF", ""),
        ];
        assert!(VARIABLES.iter().all(|(name, _)| env.iter().any(|(given, _)| given == name)));
        let Ok(Asked::Run(config)) = run(&[], &env) else {
            panic!("the base is in the environment")
        };
        assert_eq!(config.files.base, PathBuf::from("/env"));
        assert_eq!(
            (config.network.port, config.network.rcvbuf, config.network.sndbuf),
            (5001, Some(1 << 20), None)
        );
        assert_eq!(
            (config.privileges.user.as_deref(), config.privileges.group.as_deref()),
            (Some("u"), Some("g"))
        );
        assert_eq!(config.privileges.groups, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(
            (config.console.unix, config.console.listen),
            (Some(PathBuf::from("/sock")), None)
        );
        let Ok(Asked::Run(config)) = run(&["-p", "7", "-b", "/opt"], &env) else { panic!() };
        assert_eq!((config.files.base, config.network.port), (PathBuf::from("/opt"), 7));
        let bad = run(&["-b", "/"], &[("MAKUOSAN_PORT", "x")]).unwrap_err();
        assert_eq!(bad.to_string(), "makuosan: MAKUOSAN_PORT=x: a port is 1 to 65535");
    }

    #[test]
    fn nothing_at_all_shows_the_usage() {
        assert!(error(&[]).starts_with("Usage: makuosan -b DIR"));
        let Ok(Asked::Print(text)) = run(&["-V"], &[]) else { panic!() };
        assert_eq!(text, format!("makuosan {}\n", crate::VERSION));
        let Ok(Asked::Print(text)) = run(&["--help", "-b", "/x"], &[]) else { panic!() };
        assert_eq!(text, help());
    }
}
