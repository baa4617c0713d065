//! What users do in mirrored trees at random, and what has to be there in the end: every version that nobody has
//! replaced who saw it, and no other.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use makuosan::engine::rng::Rng;

/// A version of a file or of a symbolic link. No two are the same at one path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub content: Vec<u8>,
    mode: u32,
    mtime: (i64, i64),
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Version { content, mode, mtime: (secs, nanos) } = self;
        let text = String::from_utf8_lossy(&content[..content.len().min(30)]).into_owned();
        write!(f, "{text:?} {} bytes {mode:o} {secs}.{nanos:09}", content.len())
    }
}

/// What users have made, and did not replace.
#[derive(Default)]
pub struct Ledger {
    ever: BTreeSet<(String, Version)>,
    live: BTreeSet<(String, Version)>,
    /// Where a daemon put something at the very moment at which a user did.
    loose: BTreeSet<String>,
    /// Directories that were removed, with names that nobody used again.
    gone: BTreeSet<String>,
    /// Directories that were made.
    dirs: BTreeSet<String>,
    last: u32,
}

impl Ledger {
    fn next(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    fn made(&mut self, path: &str, version: Version) {
        self.ever.insert((path.to_owned(), version.clone()));
        self.live.insert((path.to_owned(), version));
    }

    fn replaced(&mut self, path: &str, version: Version) {
        self.live.remove(&(path.to_owned(), version));
    }

    fn was_there(&self, path: &str, version: &Version) -> bool {
        self.ever.contains(&(path.to_owned(), version.clone()))
    }

    fn is_loose(&self, path: &str) -> bool {
        self.loose.iter().any(|top| path == top || path.starts_with(&format!("{top}/")))
    }

    pub fn races(&self) -> usize {
        self.loose.len()
    }

    /// What is wrong with what is shown, and with what is kept as conflicts.
    pub fn faults(&self, top: &Path, conflicts: &BTreeSet<(String, Vec<u8>)>) -> Vec<String> {
        let mut faults = Vec::new();
        let (files, dirs) = walk(top);
        let mut shown = BTreeSet::new();
        for path in files {
            let Some(seen) = Seen::of(&top.join(&path)) else { continue };
            let is_live = self.live.contains(&(path.clone(), seen.version.clone()));
            if !is_live && !self.is_loose(&path) {
                faults.push(format!("{path} should not be: {:?}", seen.version));
            }
            shown.insert((path, seen.version));
        }
        for (path, version) in &self.live {
            let is_kept = conflicts.contains(&(path.clone(), version.content.clone()));
            if !is_kept && !shown.contains(&(path.clone(), version.clone())) && !self.is_loose(path)
            {
                faults.push(format!("{path} is lost: {version:?}"));
            }
        }
        for (path, content) in conflicts {
            let is = |(of, version): &(String, Version)| of == path && version.content == *content;
            if !self.live.iter().any(is) && !self.is_loose(path) {
                let text = String::from_utf8_lossy(&content[..content.len().min(30)]).into_owned();
                faults.push(format!("{path}: no conflict: {text:?}"));
            }
        }
        for dir in dirs.iter().filter(|dir| self.gone.contains(*dir)) {
            let inside = format!("{dir}/");
            let is_used = self.live.iter().any(|(path, _)| path.starts_with(&inside))
                || self.dirs.iter().any(|path| path.starts_with(&inside));
            let is_loose = self.loose.iter().any(|path| path.starts_with(&inside));
            if !is_used && !is_loose {
                faults.push(format!("{dir}/ is back"));
            }
        }
        faults
    }
}

/// All files and links, and all directories below a directory, by their paths.
fn walk(top: &Path) -> (Vec<String>, Vec<String>) {
    let (mut files, mut dirs) = (Vec::new(), vec![String::new()]);
    let mut at = 0;
    while at < dirs.len() {
        let dir = dirs[at].clone();
        for found in fs::read_dir(top.join(&dir)).into_iter().flatten().flatten() {
            let name = found.file_name().into_string().unwrap();
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if found.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(path);
            } else {
                files.push(path);
            }
        }
        at += 1;
    }
    (files, dirs.split_off(1))
}

/// What a user sees at a path, and holds.
struct Seen {
    version: Version,
    ino: u64,
    links: u64,
    held: Option<File>,
}

impl Seen {
    fn of(path: &Path) -> Option<Seen> {
        let meta = fs::symlink_metadata(path).ok()?;
        if meta.is_symlink() {
            let content =
                [b"-> ", fs::read_link(path).ok()?.as_os_str().as_encoded_bytes()].concat();
            let version = Version { content, mode: 0, mtime: (0, 0) };
            return Some(Seen { version, ino: meta.ino(), links: 1, held: None });
        }
        let file = File::options().read(true).append(true).open(path).ok()?;
        Self::of_file(file)
    }

    fn of_file(mut file: File) -> Option<Seen> {
        let meta = file.metadata().ok()?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).ok()?;
        let mtime = (meta.mtime(), meta.mtime_nsec());
        let version = Version { content, mode: meta.mode() & 0o7777, mtime };
        Some(Seen { version, ino: meta.ino(), links: meta.nlink(), held: Some(file) })
    }

    /// Whether a name of it has gone since.
    fn went(&self, path: &Path) -> bool {
        match &self.held {
            Some(file) => file.metadata().is_ok_and(|meta| meta.nlink() < self.links),
            None => fs::symlink_metadata(path).map_or(true, |meta| meta.ino() != self.ino),
        }
    }
}

/// A user of a host.
pub struct User<'a> {
    pub rng: &'a mut Rng,
    pub ledger: &'a mut Ledger,
    /// The mirrored tree.
    pub top: PathBuf,
    /// A directory beside it, which is not mirrored.
    pub outside: PathBuf,
}

impl User<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n as u64) as usize
    }

    fn any(&mut self, all: &[String]) -> Option<String> {
        (!all.is_empty()).then(|| all[self.below(all.len())].clone())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.join(path)
    }

    /// A directory; the top is the empty path.
    fn dir(&mut self) -> String {
        let mut dirs = walk(&self.top).1;
        dirs.push(String::new());
        dirs.push(String::new());
        self.any(&dirs).unwrap_or_default()
    }

    /// A name that others use, too, somewhere.
    fn name(&mut self) -> String {
        let (dir, name) = (self.dir(), format!("n{}", self.below(8)));
        if dir.is_empty() { name } else { format!("{dir}/{name}") }
    }

    fn file(&mut self) -> Option<String> {
        let files = walk(&self.top).0;
        let mut files: Vec<String> =
            files.into_iter().filter(|f| !f.starts_with("stays")).collect();
        files.sort();
        self.any(&files)
    }

    /// Contents that nobody has had yet, also of another size.
    fn contents(&mut self) -> Vec<u8> {
        let number = self.ledger.next();
        let mut text = format!("<{number}>").into_bytes();
        let more = [0, 100, 3_000, 40_000][self.below(4)];
        text.resize(10 + number as usize + more, b'.');
        text
    }

    fn loosen(&mut self, path: &str) {
        self.ledger.loose.insert(path.to_owned());
    }

    /// Says what a user does, as a shell might, if it could be done.
    pub fn act(&mut self) -> Option<String> {
        match self.below(20) {
            0..4 => self.write(false),
            4..7 => self.write(true),
            7 | 8 => self.append(),
            9 => self.chmod(),
            10 | 11 => self.rename(),
            12 => self.rename_dir(),
            13 | 14 => self.delete(),
            15 | 16 => self.mkdir(),
            17 => self.remove_dir(),
            18 => self.symlink(),
            _ => self.hard_link(),
        }
    }

    /// Something new takes the place of what has the name.
    fn put(&mut self, new: &Path, path: &str) -> Option<()> {
        let before = Seen::of(&self.at(path));
        fs::rename(new, self.at(path)).ok()?;
        match before {
            Some(seen) if seen.went(&self.at(path)) => self.ledger.replaced(path, seen.version),
            Some(_) => self.loosen(path),
            None => {}
        }
        Some(())
    }

    fn write(&mut self, in_place: bool) -> Option<String> {
        let path = if self.below(2) == 0 { self.file() } else { None };
        let path = path.unwrap_or_else(|| self.name());
        let contents = self.contents();
        if in_place {
            return self.write_over(&path, &contents);
        }
        let new = self.outside.join(format!("new{}", self.ledger.last));
        fs::write(&new, &contents).ok()?;
        let mode = [0o644, 0o600, 0o755][self.below(3)];
        fs::set_permissions(&new, Permissions::from_mode(mode)).ok()?;
        if self.below(3) == 0 {
            // With the time of an old one, as cp -p.
            let nanos = u64::from(self.ledger.next());
            let old = Duration::from_secs(1_000_000_000) + Duration::from_nanos(nanos);
            File::open(&new).ok()?.set_modified(SystemTime::UNIX_EPOCH + old).ok()?;
        }
        let version = Seen::of(&new)?.version;
        self.put(&new, &path)?;
        let what = format!("mv new {path}: {version:?}");
        self.ledger.made(&path, version);
        Some(what)
    }

    fn write_over(&mut self, path: &str, contents: &[u8]) -> Option<String> {
        let at = self.at(path);
        if fs::symlink_metadata(&at).is_err() {
            let mut file = File::options().write(true).create_new(true).open(&at).ok()?;
            file.write_all(contents).ok()?;
            return self.wrote(path, file.metadata().ok()?.ino(), format!("echo > {path}"));
        }
        let seen = Seen::of(&at).filter(|seen| seen.links == 1)?;
        let mut file = seen.held.as_ref()?;
        file.set_len(0).ok()?;
        file.write_all(contents).ok()?;
        self.ledger.replaced(path, seen.version.clone());
        self.wrote(path, seen.ino, format!("echo > {path} (over {:?})", seen.version))
    }

    /// A file was written in its place.
    fn wrote(&mut self, path: &str, ino: u64, what: String) -> Option<String> {
        match Seen::of(&self.at(path)).filter(|seen| seen.ino == ino) {
            Some(seen) => self.ledger.made(path, seen.version),
            None => self.loosen(path),
        }
        Some(what)
    }

    fn append(&mut self) -> Option<String> {
        let path = self.file()?;
        let seen = Seen::of(&self.at(&path)).filter(|seen| seen.links == 1)?;
        let mut file = seen.held.as_ref()?;
        let more = self.contents();
        file.write_all(&more).ok()?;
        self.ledger.replaced(&path, seen.version.clone());
        self.wrote(&path, seen.ino, format!("echo >> {path} (to {:?})", seen.version))
    }

    fn chmod(&mut self) -> Option<String> {
        let path = self.file()?;
        let seen = Seen::of(&self.at(&path)).filter(|seen| seen.links == 1)?;
        let mode = [0o640, 0o660, 0o700, 0o750][self.below(4)];
        let to = Version { mode, ..seen.version.clone() };
        if self.ledger.was_there(&path, &to) {
            return None;
        }
        seen.held.as_ref()?.set_permissions(Permissions::from_mode(mode)).ok()?;
        self.ledger.replaced(&path, seen.version.clone());
        self.wrote(&path, seen.ino, format!("chmod {mode:o} {path} ({:?})", seen.version))
    }

    fn rename(&mut self) -> Option<String> {
        let (from, to) = (self.file()?, self.name());
        let seen = Seen::of(&self.at(&from))?;
        if from == to || seen.links > 1 || self.ledger.was_there(&to, &seen.version) {
            return None;
        }
        self.put(&self.at(&from), &to)?;
        if Seen::of(&self.at(&to)).is_none_or(|now| now.ino != seen.ino) {
            self.loosen(&from);
            self.loosen(&to);
        }
        let what = format!("mv {from} {to}: {:?}", seen.version);
        self.ledger.replaced(&from, seen.version.clone());
        self.ledger.made(&to, seen.version);
        Some(what)
    }

    fn rename_dir(&mut self) -> Option<String> {
        let from = self.dir();
        let above = self.dir();
        if from.is_empty() || above == from || above.starts_with(&format!("{from}/")) {
            return None;
        }
        let name = format!("d{}", self.ledger.next());
        let to = if above.is_empty() { name } else { format!("{above}/{name}") };
        let all: Vec<(String, Option<Seen>)> = walk(&self.at(&from))
            .0
            .into_iter()
            .map(|path| (path.clone(), Seen::of(&self.at(&from).join(&path))))
            .collect();
        fs::rename(self.at(&from), self.at(&to)).ok()?;
        for dir in walk(&self.at(&to)).1 {
            self.gone(&format!("{from}/{dir}"));
        }
        self.gone(&from);
        for (path, seen) in all {
            let (old, new) = (format!("{from}/{path}"), format!("{to}/{path}"));
            let now = Seen::of(&self.at(&new));
            match (seen, now) {
                (Some(seen), Some(now)) if seen.ino == now.ino => {
                    self.ledger.replaced(&old, seen.version);
                    self.ledger.made(&new, now.version);
                }
                _ => {
                    self.loosen(&old);
                    self.loosen(&new);
                }
            }
        }
        Some(format!("mv {from}/ {to}/"))
    }

    /// A directory is no more; only if its name is one that is used once.
    fn gone(&mut self, dir: &str) {
        if dir.rsplit('/').next().is_some_and(|name| name.starts_with('d')) {
            self.ledger.gone.insert(dir.to_owned());
        }
    }

    fn delete(&mut self) -> Option<String> {
        let path = self.file()?;
        let what = self.unlink(&path)?;
        Some(format!("rm {path}: {what:?}"))
    }

    fn unlink(&mut self, path: &str) -> Option<Version> {
        let (at, seen) = (self.at(path), Seen::of(&self.at(path))?);
        if self.below(2) == 0 {
            let bin = self.outside.join(format!("bin{}", self.ledger.next()));
            fs::rename(&at, &bin).ok()?;
            if Seen::of(&bin).is_none_or(|moved| moved.ino != seen.ino) {
                self.loosen(path);
            }
            fs::remove_file(&bin).ok()?;
        } else {
            fs::remove_file(&at).ok()?;
            if !seen.went(&at) {
                self.loosen(path);
            }
        }
        self.ledger.replaced(path, seen.version.clone());
        Some(seen.version)
    }

    fn mkdir(&mut self) -> Option<String> {
        let path = match self.below(4) {
            0 => self.name(),
            _ => {
                let (above, name) = (self.dir(), format!("d{}", self.ledger.next()));
                if above.is_empty() { name } else { format!("{above}/{name}") }
            }
        };
        if path.matches('/').count() > 3 {
            return None;
        }
        fs::create_dir(self.at(&path)).ok()?;
        self.ledger.dirs.insert(path.clone());
        Some(format!("mkdir {path}"))
    }

    fn remove_dir(&mut self) -> Option<String> {
        let top = self.dir();
        let (files, mut dirs) = walk(&self.at(&top));
        if top.is_empty() || files.len() > 30 {
            return None;
        }
        for file in files {
            self.unlink(&format!("{top}/{file}"));
        }
        dirs.insert(0, String::new());
        for dir in dirs.into_iter().rev() {
            let dir = if dir.is_empty() { top.clone() } else { format!("{top}/{dir}") };
            if fs::remove_dir(self.at(&dir)).is_ok() {
                self.gone(&dir);
            }
        }
        Some(format!("rm -r {top}/"))
    }

    fn symlink(&mut self) -> Option<String> {
        let number = self.ledger.next();
        let (path, new) = (self.name(), self.outside.join(format!("new{number}")));
        symlink(format!("to/{number}"), &new).ok()?;
        let version = Seen::of(&new)?.version;
        self.put(&new, &path)?;
        let what = format!("ln -s {path}: {version:?}");
        self.ledger.made(&path, version);
        Some(what)
    }

    fn hard_link(&mut self) -> Option<String> {
        let (from, to) = (self.file()?, self.name());
        let seen = Seen::of(&self.at(&from))?;
        if self.ledger.was_there(&to, &seen.version) {
            return None;
        }
        fs::hard_link(self.at(&from), self.at(&to)).ok()?;
        match Seen::of(&self.at(&to)).filter(|linked| linked.ino == seen.ino) {
            Some(_) => self.ledger.made(&to, seen.version.clone()),
            None => self.loosen(&to),
        }
        Some(format!("ln {from} {to}: {:?}", seen.version))
    }
}
