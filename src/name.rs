//! Checked names: relative paths, host names, node ids, network interfaces. Parsing is the only way to get one.
#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest path, in bytes (the kernel's `PATH_MAX` less its NUL).
pub const MAX_PATH: usize = 4_095;
/// The longest component of a path, in bytes (the kernel's `NAME_MAX`).
pub const MAX_COMPONENT: usize = 255;
/// The longest host name, in bytes (RFC 1035, section 2.3.4, less the dots at the ends).
pub const MAX_HOST_NAME: usize = 253;
/// The daemon's own directory at the top of a base directory; refused as a component anywhere.
pub const STAGING: &[u8] = b".makuosan";

/// Why bytes are not a relative path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathError {
    /// Nothing between two slashes, at an end, or at all.
    Empty,
    /// A `.` component.
    Dot,
    /// A `..` component.
    DotDot,
    /// A NUL byte.
    Nul,
    /// More than [`MAX_PATH`] bytes in all, or [`MAX_COMPONENT`] in one component.
    TooLong,
    /// [`STAGING`] as a component.
    Reserved,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Empty => "empty path component",
            PathError::Dot => "path component \".\"",
            PathError::DotDot => "path component \"..\"",
            PathError::Nul => "NUL byte in path",
            PathError::TooLong => "File name too long",
            PathError::Reserved => "reserved name \".makuosan\" in path",
        })
    }
}

impl std::error::Error for PathError {}

/// A path below a base directory: bytes, relative, no empty, `.` or `..` component, no NUL, at most
/// [`MAX_PATH`] bytes, no component named [`STAGING`].
///
/// The empty path stands for the base directory itself and comes only from [`RelPath::base`] and
/// [`RelPath::parse_or_base`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The base directory itself.
    pub const fn base() -> Self {
        RelPath(Vec::new())
    }

    /// Checks `bytes`.
    ///
    /// # Errors
    /// The first thing wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        for component in bytes.split(|&b| b == b'/') {
            check_component(component)?;
        }
        Ok(RelPath(bytes.to_vec()))
    }

    /// Checks `bytes`; none of them are the base directory itself.
    ///
    /// # Errors
    /// As [`RelPath::parse`].
    pub fn parse_or_base(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() { Ok(RelPath::base()) } else { RelPath::parse(bytes) }
    }

    /// This path with one more component.
    ///
    /// # Errors
    /// As [`RelPath::parse`], for the component or the whole.
    pub fn join(&self, component: &[u8]) -> Result<Self, PathError> {
        check_component(component)?;
        if component.contains(&b'/') {
            return Err(PathError::Empty);
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + component.len());
        if !self.is_base() {
            bytes.extend_from_slice(&self.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(component);
        if bytes.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        Ok(RelPath(bytes))
    }

    /// The bytes; empty for the base directory.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the base directory itself.
    pub fn is_base(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory it is in (the base for a path of one component), and its last component.
    /// None for the base itself.
    pub fn split_last(&self) -> Option<(RelPath, &[u8])> {
        if self.is_base() {
            return None;
        }
        Some(match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => (RelPath(self.0[..at].to_vec()), &self.0[at + 1..]),
            None => (RelPath::base(), &self.0[..]),
        })
    }

    /// The components, in order; none for the base.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// What of it comes after another path that it is below; None if it is not.
    pub fn below(&self, top: &RelPath) -> Option<&[u8]> {
        if !self.is_under(top) || self == top {
            return None;
        }
        let top = top.as_bytes().len();
        self.as_bytes().get(if top == 0 { 0 } else { top + 1 }..)
    }

    /// Whether this is `other` or lies below it. Everything is below the base.
    pub fn is_under(&self, other: &RelPath) -> bool {
        RelPath::is_below(&self.0, &other.0)
    }

    /// The same of paths that are only bytes.
    pub(crate) fn is_below(path: &[u8], other: &[u8]) -> bool {
        let rest = path.strip_prefix(other);
        other.is_empty() || rest.is_some_and(|rest| rest.first().is_none_or(|b| *b == b'/'))
    }
}

/// How a walk orders `a` and `b`: by name, and a directory before what is in it, which follows directly.
pub fn tree_order(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: &u8| (*byte != b'/', *byte);
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => key(a).cmp(&key(b)),
        None => a.len().cmp(&b.len()),
    }
}

fn check_component(component: &[u8]) -> Result<(), PathError> {
    match component {
        b"" => Err(PathError::Empty),
        b"." => Err(PathError::Dot),
        b".." => Err(PathError::DotDot),
        STAGING => Err(PathError::Reserved),
        c if c.len() > MAX_COMPONENT => Err(PathError::TooLong),
        c if c.contains(&0) => Err(PathError::Nul),
        _ => Ok(()),
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Escaped(&self.0), f)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Bytes as one line shows them: control bytes, DEL, backslash and whatever is not UTF-8 as `\ooo`,
/// and a leading `> ` with its first byte so, because clients take that for the prompt.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest.starts_with(b"> ") {
            f.write_str("\\076")?;
            rest = &rest[1..];
        }
        for chunk in rest.utf8_chunks() {
            let mut plain = 0;
            let valid = chunk.valid();
            for (at, c) in valid.char_indices() {
                if c.is_control() || c == '\\' {
                    f.write_str(&valid[plain..at])?;
                    plain = at + c.len_utf8();
                    for byte in valid[at..plain].bytes() {
                        write!(f, "\\{byte:03o}")?;
                    }
                }
            }
            f.write_str(&valid[plain..])?;
            for byte in chunk.invalid() {
                write!(f, "\\{byte:03o}")?;
            }
        }
        Ok(())
    }
}

/// Why bytes are not a host name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostNameError;

impl fmt::Display for HostNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a host name has 1 to 253 letters, digits, '.', '-' or '_'")
    }
}

impl std::error::Error for HostNameError {}

/// A host's name, as `members` shows it: 1 to 253 ASCII letters, digits, `.`, `-`, `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostName(String);

impl HostName {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// Too long, empty, or a byte that is not allowed.
    pub fn parse(bytes: &[u8]) -> Result<Self, HostNameError> {
        let fine = (1..=MAX_HOST_NAME).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(b));
        match std::str::from_utf8(bytes) {
            Ok(name) if fine => Ok(HostName(name.to_owned())),
            _ => Err(HostNameError),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a member is known by: 64 random bits drawn at each start of a daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The longest name of a network interface, in bytes (the kernel's `IFNAMSIZ` less its NUL).
const MAX_INTERFACE: usize = 15;

/// Which of a host's network interfaces to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Interface {
    /// Whichever the routes say.
    Any,
    /// The one that has this address.
    Address(Ipv4Addr),
    /// The one of this name, by its first address; or its first address with this label, as `eth0:1`.
    Named(String),
}

impl Interface {
    /// What `text` means: an address of a host, or a name. An interface that is called like an address
    /// can be meant by its address only.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            let is_of_a_host = !address.is_multicast() && !address.is_broadcast();
            return is_of_a_host.then(|| address.into());
        }
        // An address with a mistake in it would be a name that nobody gives.
        let is_like_v4 = text.contains('.') && text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_like_v6 = text.parse::<Ipv6Addr>().is_ok();
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == '/';
        let is_name = (1..=MAX_INTERFACE).contains(&text.len())
            && !text.contains(odd)
            && !text.starts_with(':')
            && !text.ends_with(':');
        (is_name && !is_like_v4 && !is_like_v6).then(|| Interface::Named(text.to_owned()))
    }
}

impl From<Ipv4Addr> for Interface {
    fn from(address: Ipv4Addr) -> Self {
        if address.is_unspecified() { Interface::Any } else { Interface::Address(address) }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interface::Any => f.write_str("any interface"),
            Interface::Address(address) => write!(f, "interface {address}"),
            Interface::Named(name) => write!(f, "interface {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_a_tree_is_that_of_its_components() {
        let paths = [
            "", "a", "a/b", "a/b/c", "a/\u{1}", "a\u{1}", "a\0", "a-", "a.d", "a.d/x", "b", "/",
            "a/",
        ];
        for (a, b) in paths.iter().flat_map(|a| paths.iter().map(move |b| (a, b))) {
            let parts = a.as_bytes().split(|b| *b == b'/').cmp(b.as_bytes().split(|b| *b == b'/'));
            assert_eq!(tree_order(a.as_bytes(), b.as_bytes()), parts, "{a:?} {b:?}");
        }
    }

    #[test]
    fn paths_that_leave_the_base_do_not_parse() {
        let cases: [(&[u8], PathError); 12] = [
            (b"", PathError::Empty),
            (b"/etc/passwd", PathError::Empty),
            (b"a//b", PathError::Empty),
            (b"a/", PathError::Empty),
            (b"..", PathError::DotDot),
            (b"a/../../b", PathError::DotDot),
            (b"./a", PathError::Dot),
            (b"a/.", PathError::Dot),
            (b"a\0b", PathError::Nul),
            (b".makuosan", PathError::Reserved),
            (b"a/.makuosan/b", PathError::Reserved),
            (&[b'x'; 4_096], PathError::TooLong),
        ];
        for (bytes, why) in cases {
            assert_eq!(RelPath::parse(bytes), Err(why), "{}", Escaped(bytes));
        }
        assert_eq!(RelPath::parse(&[b'x'; 256]), Err(PathError::TooLong));
    }

    #[test]
    fn odd_but_harmless_paths_parse() {
        for bytes in [&b"-r"[..], b"a b", b"...", b"a\nb", b"\xff\xfe", b".makuosan2", b"..a/b.."] {
            assert_eq!(RelPath::parse(bytes).unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn joining_and_splitting_are_inverse() {
        let path = RelPath::parse(b"a/b/c").unwrap();
        let (dir, last) = path.split_last().unwrap();
        assert_eq!(dir.join(last).unwrap(), path);
        assert_eq!(RelPath::base().join(b"x").unwrap(), RelPath::parse(b"x").unwrap());
        assert!(RelPath::base().split_last().is_none());
        assert_eq!(path.join(b".."), Err(PathError::DotDot));
        assert_eq!(path.join(b"x/y"), Err(PathError::Empty));
    }

    #[test]
    fn under_means_whole_components() {
        let path = |s: &str| RelPath::parse(s.as_bytes()).unwrap();
        assert!(path("a/b").is_under(&path("a")));
        assert!(path("a").is_under(&path("a")));
        assert!(!path("ab").is_under(&path("a")));
        assert!(path("a").is_under(&RelPath::base()));
    }

    #[test]
    fn no_name_can_look_like_a_prompt_or_two_lines() {
        assert_eq!(Escaped(b"> x").to_string(), "\\076 x");
        assert_eq!(Escaped(b"a\nb\\").to_string(), "a\\012b\\134");
        assert_eq!(Escaped(b"\xffz\x7f").to_string(), "\\377z\\177");
        assert_eq!(Escaped("日本\u{85}".as_bytes()).to_string(), "日本\\302\\205");
    }

    #[test]
    fn host_names_are_plain() {
        assert!(HostName::parse(b"web-1.example_x").is_ok());
        for bad in [&b""[..], b"a b", b"a:b", b"\xff", &[b'a'; 254]] {
            assert_eq!(HostName::parse(bad), Err(HostNameError));
        }
    }

    #[test]
    fn an_interface_is_meant_by_its_address_or_its_name() {
        let parse = |text: &str| Interface::parse(text).map(|interface| interface.to_string());
        assert_eq!(Interface::parse("0.0.0.0"), Some(Interface::Any));
        for text in ["10.0.0.1", "127.0.0.2", "eth0", "eth0.100", "eth0:1", "br-12ab", "100", "a.b"]
        {
            assert_eq!(parse(text), Some(format!("interface {text}")), "{text}");
        }
        assert_eq!(Interface::parse("eth0"), Some(Interface::Named("eth0".to_owned())));
        let wrong = [
            "",
            "224.0.0.1",
            "255.255.255.255",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1/8",
            "::1",
            "fe80::1",
            ":1",
            "eth0:",
            "..",
            ".",
            "a b",
            "a\n",
            "a/b",
            "sixteen-letters-",
        ];
        for text in wrong {
            assert_eq!(Interface::parse(text), None, "{text}");
        }
    }
}
