//! Where the daemon is.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::cli::{DEFAULT_PORT, value};
use crate::name::Escaped;

/// Where the daemon's console is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A host by name or address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Reads `tcp:HOST:PORT`, `tcp:HOST`, `tcp:[IPV6]:PORT`, `unix:PATH` or a bare path.
    /// None for an empty host or path, or a bad port.
    pub fn parse(text: &OsStr) -> Option<Target> {
        let bytes = text.as_bytes();
        let Some(place) = bytes.strip_prefix(b"tcp:") else {
            let path = OsStr::from_bytes(bytes.strip_prefix(b"unix:").unwrap_or(bytes));
            return (!path.is_empty()).then(|| Target::Unix(PathBuf::from(path)));
        };
        let place = std::str::from_utf8(place).ok()?;
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => match rest.split_once(']')? {
                (host, "") => (host, None),
                (host, port) => (host, Some(port.strip_prefix(':')?)),
            },
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = match port {
            Some(port) => value::number(OsStr::new(port), 1..=65_535)?.try_into().ok()?,
            None => DEFAULT_PORT,
        };
        (!host.is_empty()).then(|| Target::Tcp(host.to_owned(), port))
    }
}

impl Default for Target {
    fn default() -> Self {
        Target::Tcp("127.0.0.1".to_owned(), DEFAULT_PORT)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Target::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
            Target::Unix(path) => write!(f, "unix:{}", Escaped(path.as_os_str().as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let read = |text: &str| Target::parse(OsStr::new(text)).map(|t| t.to_string());
        assert_eq!(read("tcp:web1").as_deref(), Some("tcp:web1:5000"));
        assert_eq!(read("tcp:127.0.0.2:6000").as_deref(), Some("tcp:127.0.0.2:6000"));
        assert_eq!(read("tcp:[::1]:6000").as_deref(), Some("tcp:[::1]:6000"));
        assert_eq!(read("tcp:[::1]").as_deref(), Some("tcp:[::1]:5000"));
        assert_eq!(read("unix:/run/m").as_deref(), Some("unix:/run/m"));
        assert_eq!(read("/run/m").as_deref(), Some("unix:/run/m"));
        for bad in ["", "unix:", "tcp:", "tcp:a:", "tcp:a:0", "tcp:a:b", "tcp:[::1", "tcp:[::1]x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
