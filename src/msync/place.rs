//! The path below the daemon's base directory that a typed path means.
//!
//! A relative path is relative to the base directory. Only if it does not exist there, and the
//! current directory is below the base, it is relative to the current directory. So one can `cd`
//! into the tree and name what is there, and a script with paths relative to the base means the
//! same wherever it runs, as long as they exist. An absolute path must be below the base. If the
//! daemon is on another host, files are not looked at.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::name::{Escaped, PathError, RelPath};

/// Why a typed path is not one below the base directory. The text is meant to follow the path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlaceError {
    /// It has a `..`, and the current directory is not below the base.
    Elsewhere,
    /// It is not below the base, which is this.
    Outside(PathBuf),
    /// It is absolute, and the daemon does not report its base directory.
    UnknownBase,
    /// It is not a valid path.
    Path(PathError),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceError::Elsewhere => {
                f.write_str("\"..\" needs a current directory below the base directory")
            }
            PlaceError::Outside(base) => {
                let base = Escaped(base.as_os_str().as_bytes());
                write!(f, "not below the base directory {base}")
            }
            PlaceError::UnknownBase => f.write_str("the daemon does not report its base directory"),
            PlaceError::Path(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for PlaceError {}

/// The base directory, as far as this process can see it.
pub struct Base {
    /// As reported by the daemon.
    dir: PathBuf,
    seen: Option<Seen>,
}

struct Seen {
    /// Without symbolic links.
    real: PathBuf,
    /// The current directory, if it is the base or below it.
    cwd: Option<PathBuf>,
}

impl Base {
    /// `dir`: as reported by the daemon, absolute; `local`: the daemon is on this host; `cwd`: the
    /// current directory, if there is one.
    pub fn new(dir: &[u8], local: bool, cwd: Option<PathBuf>) -> Base {
        let dir = PathBuf::from(OsStr::from_bytes(dir));
        let real = if local { dir.canonicalize().ok() } else { None };
        let seen = real.map(|real| Seen { cwd: cwd.filter(|cwd| cwd.starts_with(&real)), real });
        Base { dir, seen }
    }

    /// The path below the base that `typed` means; the base itself for an empty one.
    ///
    /// # Errors
    /// It is not a path below the base.
    pub fn locate(&self, typed: &[u8]) -> Result<RelPath, PlaceError> {
        if typed.starts_with(b"/") {
            return self.below(Path::new(OsStr::from_bytes(typed)));
        }
        let parts: Vec<&[u8]> = plain_parts(typed);
        let cwd = self.seen.as_ref().and_then(|seen| seen.cwd.as_ref());
        // `.` and `..` are relative to the current directory, if that is below the base.
        let dot = parts.is_empty() && !typed.is_empty();
        let up = parts.contains(&&b".."[..]);
        match cwd {
            Some(cwd) if dot || up => return self.below(&cwd.join(OsStr::from_bytes(typed))),
            None if up => return Err(PlaceError::Elsewhere),
            _ => {}
        }
        let path = checked(&parts)?;
        if let (Some(seen), Some(cwd)) = (&self.seen, cwd) {
            let below = OsStr::from_bytes(path.as_bytes());
            if is_missing(&seen.real.join(below)) && !is_missing(&cwd.join(below)) {
                return self.below(&cwd.join(below));
            }
        }
        Ok(path)
    }

    /// The path below the base that an absolute path names.
    fn below(&self, path: &Path) -> Result<RelPath, PlaceError> {
        let parts = plain_parts(path.as_os_str().as_bytes());
        let base = plain_parts(self.dir.as_os_str().as_bytes());
        if let (Some(rest), false) = (parts.strip_prefix(&base[..]), parts.contains(&&b".."[..])) {
            return checked(rest);
        }
        // It may still lead there through a link or a `..`.
        let found = self.seen.as_ref().and_then(|seen| {
            let real = real_place(path).ok()?;
            Some(real.strip_prefix(&seen.real).ok()?.to_owned())
        });
        match found {
            Some(rest) => checked(&plain_parts(rest.as_os_str().as_bytes())),
            None => Err(PlaceError::Outside(self.dir.clone())),
        }
    }

    /// Whether there is certainly no such path.
    pub fn lacks(&self, path: &RelPath) -> bool {
        let below = OsStr::from_bytes(path.as_bytes());
        self.seen.as_ref().is_some_and(|seen| is_missing(&seen.real.join(below)))
    }

    /// Advice about a path with a directory that is a symbolic link, as the daemon does not follow
    /// it. None if there is no such link, or the files cannot be seen.
    pub fn advice(&self, path: &RelPath) -> Option<String> {
        let seen = self.seen.as_ref()?;
        let place = seen.real.join(OsStr::from_bytes(path.as_bytes()));
        let real = real_place(&place).ok().filter(|real| *real != place)?;
        Some(match real.strip_prefix(&seen.real) {
            Ok(rest) => {
                let rest = Escaped(rest.as_os_str().as_bytes()).to_string();
                format!("it goes through a symbolic link; the real path is {rest}")
            }
            Err(_) => "it goes through a symbolic link, out of the base directory".to_owned(),
        })
    }
}

/// The path below the base when the base is not known.
///
/// # Errors
/// As [`Base::locate`].
pub fn locate_blind(typed: &[u8]) -> Result<RelPath, PlaceError> {
    if typed.starts_with(b"/") {
        return Err(PlaceError::UnknownBase);
    }
    checked(&plain_parts(typed))
}

/// The components, without empty ones and `.`.
fn plain_parts(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").collect()
}

fn checked(parts: &[&[u8]]) -> Result<RelPath, PlaceError> {
    match parts {
        [] => Ok(RelPath::base()),
        _ => RelPath::parse(&parts.join(&b'/')).map_err(PlaceError::Path),
    }
}

/// The path with symbolic links resolved, except in its last component.
fn real_place(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => path.canonicalize(),
    }
}

/// Whether `path` certainly does not exist.
fn is_missing(path: &Path) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    let look = path.symlink_metadata();
    look.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of the test's own, removed at its end.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let own = format!("msync-place-{}-{name}", std::process::id());
            let path = std::env::temp_dir().canonicalize().unwrap().join(own);
            fs::create_dir(&path).unwrap();
            Dir(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn bytes(path: &Path) -> &[u8] {
        path.as_os_str().as_bytes()
    }

    fn shown(found: Result<RelPath, PlaceError>) -> String {
        match found {
            Ok(path) => format!("/{path}"),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn relative_to_the_base_first_then_to_where_one_is() {
        let dir = Dir::new("relative");
        let root = dir.0.join("base");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        for file in ["both", "sub/both", "sub/only"] {
            fs::write(root.join(file), "x").unwrap();
        }
        let find = |cwd: &Path, local: bool, typed: &str| {
            let base = Base::new(bytes(&root), local, Some(cwd.to_owned()));
            shown(base.locate(typed.as_bytes()))
        };
        let sub = root.join("sub");
        assert_eq!(find(&sub, true, "both"), "/both");
        assert_eq!(find(&sub, true, "./both"), "/both");
        assert_eq!(find(&sub, true, "only"), "/sub/only");
        assert_eq!(find(&sub, true, "sub/only"), "/sub/only");
        assert_eq!(find(&sub, true, "sub//./only/"), "/sub/only");
        assert_eq!(find(&sub, true, "deep"), "/sub/deep");
        assert_eq!(find(&sub, true, "none"), "/none");
        assert_eq!(find(&sub, true, "both/none"), "/both/none");
        assert_eq!(find(&sub, true, ""), "/");
        assert_eq!(find(&sub, true, "."), "/sub");
        assert_eq!(find(&sub, true, "./"), "/sub");
        assert_eq!(find(&sub, true, ".."), "/");
        assert_eq!(find(&sub, true, "../both"), "/both");
        assert_eq!(find(&sub, true, "../sub/none"), "/sub/none");
        let outside = format!("not below the base directory {}", root.display());
        assert_eq!(find(&sub, true, "../../x"), outside);
        // Elsewhere, or on another host, only the base counts.
        for (cwd, local) in [(dir.0.as_path(), true), (sub.as_path(), false)] {
            assert_eq!(find(cwd, local, "only"), "/only");
            assert_eq!(find(cwd, local, "."), "/");
            assert!(find(cwd, local, "../both").starts_with("\"..\" needs"));
        }
        assert_eq!(find(&sub, true, "a/.makuosan"), "reserved name \".makuosan\" in path");
    }

    #[test]
    fn absolute_paths_are_below_the_base_or_refused() {
        let dir = Dir::new("absolute");
        let root = dir.0.join("base");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(dir.0.join("base2")).unwrap();
        symlink(&root, dir.0.join("alias")).unwrap();
        let base = Base::new(&[bytes(&root), b"/"].concat(), true, None);
        let find = |path: PathBuf| shown(base.locate(bytes(&path)));
        assert_eq!(find(root.join("sub/x")), "/sub/x");
        assert_eq!(find(root.clone()), "/");
        assert_eq!(find(dir.0.join("alias/sub/x")), "/sub/x");
        assert_eq!(find(root.join("sub/../y")), "/y");
        assert_eq!(find(root.join("sub/..")), "/");
        for outside in ["base2/x", "x", "base/../x", ""] {
            assert!(find(dir.0.join(outside)).starts_with("not below"), "{outside}");
        }
        // The name of the base may itself go through a link.
        let aliased = Base::new(bytes(&dir.0.join("alias")), true, Some(root.join("sub")));
        assert_eq!(shown(aliased.locate(bytes(&root.join("y")))), "/y");
        assert_eq!(shown(aliased.locate(b".")), "/sub");
        // Without a look at files the words must match.
        let far = Base::new(b"/var/www/", false, None);
        assert_eq!(shown(far.locate(b"/var//www/a")), "/a");
        assert!(shown(far.locate(b"/var/www2/a")).starts_with("not below"));
        assert!(shown(far.locate(b"/var/www/../a")).starts_with("not below"));
        assert_eq!(shown(locate_blind(b"./a//b/")), "/a/b");
        assert!(shown(locate_blind(b"/a")).contains("does not report"));
    }

    #[test]
    fn the_whole_machine_may_be_the_base() {
        let base = Base::new(b"/", false, None);
        assert_eq!(shown(base.locate(b"/etc/motd")), "/etc/motd");
    }

    #[test]
    fn a_path_through_a_link_gets_advice() {
        let dir = Dir::new("link");
        let root = dir.0.join("base");
        fs::create_dir_all(root.join("real")).unwrap();
        fs::write(root.join("real/x"), "x").unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink("x", root.join("real/alias")).unwrap();
        symlink(&dir.0, root.join("out")).unwrap();
        let base = Base::new(bytes(&root), true, None);
        let advice = |path: &str| base.advice(&RelPath::parse(path.as_bytes()).unwrap());
        assert_eq!(advice("real/x"), None);
        assert_eq!(advice("real/alias"), None);
        assert_eq!(advice("link"), None);
        assert_eq!(advice("none/x"), None);
        assert_eq!(base.advice(&RelPath::base()), None);
        assert!(advice("link/x").unwrap().ends_with("the real path is real/x"));
        assert!(advice("out/y").unwrap().ends_with("out of the base directory"));
    }
}
