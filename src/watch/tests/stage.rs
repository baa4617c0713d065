//! A watched tree, and a copy of it that has what was sent.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::testing::TempDir;
use crate::name::RelPath;
use crate::pattern::{Patterns, Rule};
use crate::time::{Span, Time};
use crate::watch::moment::Moment;
use crate::watch::tree::Tree;
use crate::watch::types::{
    Changed, Command, Config, DELAY, Event, Flush, Now, Refusal, TEMPORARIES, WatchNo, Went, Why,
};

pub const WATCH: WatchNo = WatchNo(7);

/// A base directory with a watched tree in it, and what a target has of it.
pub struct Stage {
    pub temp: TempDir,
    pub target: TempDir,
    pub config: Config,
    pub tree: Tree,
    pub at: Moment,
    /// All flushes, and when each came.
    pub flushes: Vec<(Time, Flush)>,
    pub reached: Vec<(u64, u64)>,
    /// How often the daemon was asked which directory the base is.
    pub looks: u32,
    /// Flushes are over at once. Else the test says when.
    pub answers: bool,
}

pub fn path(text: &str) -> RelPath {
    RelPath::parse_or_base(text.as_bytes()).unwrap()
}

pub fn config(at: &str) -> Config {
    let rules: Vec<Rule> = TEMPORARIES.iter().map(|name| Rule::exclude(name.as_bytes())).collect();
    let patterns = Arc::new(Patterns::new(&rules).unwrap());
    Config { path: path(at), patterns, delay: DELAY, deletes: true, holds: true }
}

/// The wall clock of the file system.
pub fn wall(temp: &TempDir) -> (i64, u32) {
    let probe = temp.path().with_extension("probe");
    fs::write(&probe, "").unwrap();
    let about = fs::metadata(&probe).unwrap();
    fs::remove_file(probe).unwrap();
    (about.ctime(), about.ctime_nsec() as u32)
}

/// A directory of a test's own, in memory if that is possible: there are many files in these tests.
pub fn temp_dir(name: &str) -> TempDir {
    let memory = Path::new("/dev/shm");
    match fs::metadata(memory).is_ok_and(|about| about.is_dir()) {
        true => TempDir::under(memory, name),
        false => TempDir::new(name),
    }
}

impl Stage {
    /// A watch of all of an empty base directory, after its first flush.
    pub fn new(name: &str) -> Self {
        Stage::of(temp_dir(name), config(""))
    }

    /// A watch of what is there, after its first flush.
    pub fn of(temp: TempDir, config: Config) -> Self {
        let mut stage = Stage::begin(temp, config).unwrap();
        stage.pass(50);
        assert!(matches!(stage.flushes[..], [(_, Flush::Tree { why: Why::Begun, .. })]));
        stage.flushes.clear();
        stage
    }

    pub fn begin(temp: TempDir, config: Config) -> Result<Self, Refusal> {
        let at = Moment { now: Time::from_micros(1_000_000_000), wall: wall(&temp) };
        let tree = Tree::open(WATCH, temp.root(), config.clone(), at, 1)?;
        let target = temp_dir("watch-target");
        let (flushes, reached) = (Vec::new(), Vec::new());
        Ok(Stage { temp, target, config, tree, at, flushes, reached, looks: 0, answers: true })
    }

    /// Lets so many milliseconds go by.
    pub fn pass(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(10) {
            self.at.now += Span::from_millis(10);
            self.turn();
        }
    }

    /// One turn of the thread.
    pub fn turn(&mut self) {
        let mut events = VecDeque::new();
        self.tree.read(self.at.now);
        while self.tree.is_busy() {
            self.tree.step(self.at);
        }
        self.tree.advance(self.at, &mut events);
        for event in events {
            match event {
                Event::Flush(WATCH, flush) => {
                    self.apply(&flush);
                    self.flushes.push((self.at.now, flush));
                    if self.answers {
                        self.done(Went::Sent { again: Vec::new() });
                    }
                }
                Event::LookAtBase => self.looks += 1,
                Event::Reached { watch: WATCH, cookie, held } => {
                    self.reached.push((cookie, held.map_or(0, |(_, count)| count)));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn done(&mut self, went: Went) {
        self.tree.command(self.at, Command::Done { watch: WATCH, went });
    }

    /// Lets a minute go by in big steps, so that all is settled.
    pub fn settle(&mut self) {
        for _ in 0..600 {
            self.at.now += Span::from_millis(100);
            self.turn();
        }
    }

    pub fn join(&self, at: &str) -> PathBuf {
        self.temp.join(at)
    }

    pub fn write(&self, at: &str, text: &str) {
        self.temp.write(at, text);
    }

    /// The paths of all flushes so far, with what was found there. The lists are then empty.
    pub fn sent(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        for (_, flush) in self.flushes.drain(..) {
            match flush {
                Flush::Paths(changed) => {
                    sent.extend(changed.iter().map(|Changed { path, now, .. }| match now {
                        Now::Itself => path.to_string(),
                        Now::Whole => format!("{path}/"),
                        Now::Merged => format!("{path}/+"),
                        Now::Gone => format!("-{path}"),
                    }));
                }
                Flush::Tree { why, deletes } => {
                    sent.push(format!("all: {why}{}", if deletes { ", deletes" } else { "" }));
                }
            }
        }
        sent
    }

    /// Asserts that the target has what is here.
    pub fn same(&self) {
        let top = self.config.path.as_bytes();
        let top = std::str::from_utf8(top).unwrap();
        let (here, there) = (all(&self.temp.join(top)), all(&self.target.join(top)));
        let lacks: Vec<_> = here.iter().filter(|(at, what)| there.get(*at) != Some(what)).collect();
        let more: Vec<_> = there.keys().filter(|at| !here.contains_key(*at)).collect();
        assert!(lacks.is_empty() && more.is_empty(), "lacks {lacks:?}, more {more:?}");
    }

    /// Does at the target what this flush says.
    fn apply(&self, flush: &Flush) {
        match flush {
            Flush::Tree { deletes, .. } => {
                let path = self.config.path.clone();
                let is_there = self.temp.path().join(os(&path)).is_dir();
                if is_there {
                    self.copy(&path, true, *deletes);
                }
            }
            Flush::Paths(changed) => {
                assert!(changed.windows(2).all(|two| two[0].path < two[1].path));
                for Changed { path, now, .. } in changed.iter() {
                    match now {
                        Now::Itself => self.copy(path, false, false),
                        Now::Whole => self.copy(path, true, true),
                        Now::Merged => self.copy(path, true, false),
                        Now::Gone => {}
                    }
                }
                for Changed { path, .. } in changed.iter().filter(|all| all.now == Now::Gone) {
                    if fs::symlink_metadata(self.temp.path().join(os(path))).is_err() {
                        remove(&self.target.path().join(os(path)));
                    }
                }
            }
        }
    }

    fn copy(&self, path: &RelPath, whole: bool, deletes: bool) {
        let (from, to) = (self.temp.path().join(os(path)), self.target.path().join(os(path)));
        if path.components().any(|name| name == crate::name::STAGING)
            || self.config.patterns.excludes(path, from.is_dir())
        {
            return;
        }
        let Ok(about) = fs::symlink_metadata(&from) else { return };
        // Directories above it come along, in place of whatever is there.
        let mut above = self.target.path().to_owned();
        let below = to.parent().unwrap().strip_prefix(self.target.path());
        for name in below.unwrap_or(Path::new("")) {
            above.push(name);
            if fs::symlink_metadata(&above).is_ok_and(|there| !there.is_dir()) {
                remove(&above);
            }
        }
        let is_same_kind = fs::symlink_metadata(&to)
            .is_ok_and(|there| there.is_dir() == about.is_dir() && !there.is_symlink());
        if !is_same_kind || about.is_symlink() {
            remove(&to);
        }
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if about.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from).unwrap(), &to).unwrap();
        } else if about.is_file() {
            fs::copy(&from, &to).unwrap();
        } else if about.is_dir() {
            fs::create_dir_all(&to).unwrap();
            let names = |dir: &Path| -> Vec<_> {
                fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
            };
            for name in names(&from).iter().filter(|_| whole) {
                if let Ok(below) = path.join(name.as_bytes()) {
                    self.copy(&below, true, deletes);
                }
            }
            for name in names(&to).iter().filter(|_| whole && deletes) {
                if fs::symlink_metadata(from.join(name)).is_err() {
                    remove(&to.join(name));
                }
            }
        }
    }
}

fn os(path: &RelPath) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(path.as_bytes())
}

fn remove(at: &Path) {
    match fs::symlink_metadata(at) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(at).unwrap(),
        Ok(_) => fs::remove_file(at).unwrap(),
        Err(_) => {}
    }
}

/// All that is at or below a directory, with what it is.
fn all(at: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![at.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let what = if about.is_dir() {
                open.push(path.clone());
                "directory".to_owned()
            } else if about.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
            };
            found.insert(path.strip_prefix(at).unwrap().to_owned(), what);
        }
    }
    found
}
