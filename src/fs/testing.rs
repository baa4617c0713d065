//! Helpers that the tests of this folder share.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::batch::{Batcher, SourceBatch};
use super::contents::Contents;
use super::disk::{Disk, DiskConfig, StagedFile};
use super::found::{FoundEntry, WalkItem};
use super::path_list::{Listed, PathList};
use super::root::Root;
use super::source::Source;
use super::walk::{WalkOptions, Walker};
use crate::engine::disk_job::{Body, DeletionTally, DiskAnswer, DiskJob, Ended, Mode, TransferKey};
use crate::ids::{BatchNo, EntryNo, TransferNo};
use crate::name::{NodeId, RelPath};
use crate::pattern::{Patterns, Rule};
use crate::sys::fsat;
use crate::wire::layout::Layout;
use crate::wire::manifest::{Entry, FileTime, Kind, Setup};
use crate::wire::outcome::{Need, Outcome, SpoolCode};

/// A directory of a test's own, removed when the test is over.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        Self::under(&std::env::temp_dir(), name)
    }

    pub fn under(parent: &Path, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("makuo-{name}-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(std::fs::canonicalize(path).unwrap())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn root(&self) -> Arc<Root> {
        Arc::new(Root::open(&self.0).unwrap())
    }

    pub fn disk(&self) -> Disk {
        self.disk_with(DiskConfig::default())
    }

    pub fn disk_with(&self, config: DiskConfig) -> Disk {
        disk_at(self.root(), config)
    }

    /// Writes a file, and the directories it is in.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::fs::remove_dir_all(&self.0).is_err() {
            // Directories without permissions, or too deep for it.
            let _ =
                std::process::Command::new("chmod").arg("-R").arg("u+rwx").arg(&self.0).status();
            let _ = std::process::Command::new("rm").arg("-rf").arg(&self.0).status();
        }
    }
}

/// The disk of a base directory, once nobody has it.
pub fn disk_at(root: Arc<Root>, config: DiskConfig) -> Disk {
    once_free(
        || Disk::new(Arc::clone(&root), config),
        |error| error.kind() == std::io::ErrorKind::WouldBlock,
    )
}

/// What is opened once nobody holds its lock. A program that another test has just forked holds it until it runs,
/// though whoever had it here is gone.
pub fn once_free<T, E: std::fmt::Debug>(
    open: impl Fn() -> Result<T, E>,
    is_held: impl Fn(&E) -> bool,
) -> T {
    for _ in 0..500 {
        match open() {
            Err(error) if is_held(&error) => {
                std::thread::sleep(std::time::Duration::from_millis(10))
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the lock is never free");
}

pub fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::parse(text.as_ref()).unwrap()
}

/// Options of a whole walk; nothing is young.
pub fn whole() -> WalkOptions {
    WalkOptions {
        recursive: true,
        list: None,
        own_only: None,
        skip: None,
        now: || (i64::MAX, 0),
        keep: false,
        names_only: false,
        digests: false,
        regroup: None,
        listings: None,
        before: None,
        announced_over: u64::MAX,
        digested: Arc::default(),
        contents: Contents::Unchanged,
        cancelled: Arc::default(),
    }
}

pub fn walk(root: &Arc<Root>, start: &RelPath, options: WalkOptions) -> Vec<WalkItem> {
    Walker::new(root.clone(), start.clone(), options).unwrap().collect()
}

/// What is found on a walk, where nothing but entries may be found.
pub fn found(root: &Arc<Root>, start: &RelPath) -> Vec<FoundEntry> {
    let found = walk(root, start, whole()).into_iter().map(|item| match item {
        WalkItem::Found(found) => found,
        other => panic!("{other:?}"),
    });
    found.collect()
}

pub fn batches(found: Vec<FoundEntry>) -> Vec<SourceBatch> {
    let mut batcher = Batcher::new();
    let mut batches: Vec<SourceBatch> = found.into_iter().filter_map(|f| batcher.push(f)).collect();
    batches.extend(batcher.finish());
    batches
}

/// One transfer to one disk, driven by hand.
pub struct Transfer {
    pub key: TransferKey,
    pub mode: Mode,
    pub next: BatchNo,
}

/// All there is, with digests.
pub fn digested(from: &TempDir) -> Vec<SourceBatch> {
    let options = WalkOptions { digests: true, ..whole() };
    let items = walk(&from.root(), &RelPath::base(), options).into_iter();
    batches(
        items
            .map(|item| match item {
                WalkItem::Found(found) => found,
                other => panic!("{other:?}"),
            })
            .collect(),
    )
}

/// What became of one entry: `+` before an open, `-` before a close entry's path.
pub type Line = (String, Need, Outcome);

impl Transfer {
    pub fn new(number: u32, mode: Mode) -> Self {
        Transfer {
            key: TransferKey { node: NodeId(1), number: TransferNo::new(number) },
            mode,
            next: BatchNo::ZERO,
        }
    }

    pub fn plan(
        &mut self,
        disk: &mut Disk,
        batch: &SourceBatch,
    ) -> (BatchNo, Vec<Need>, Option<StagedFile>) {
        match self.try_plan(disk, batch) {
            (number, DiskAnswer::Planned { needs, file, .. }) => (number, needs, file),
            other => panic!("{other:?}"),
        }
    }

    pub fn try_plan(
        &mut self,
        disk: &mut Disk,
        batch: &SourceBatch,
    ) -> (BatchNo, DiskAnswer<StagedFile>) {
        let number = self.next;
        self.next = number.next();
        let layout = Arc::new(Layout::new(&batch.manifest, 1_424).unwrap());
        let manifest = batch.manifest.clone();
        let (key, mode) = (self.key, self.mode);
        let stamp = crate::stamp::Stamp::ZERO;
        let job = DiskJob::Plan { key, batch: number, manifest, layout, mode, stamp };
        (number, disk.run(job).unwrap())
    }

    /// Reads what is needed, as a sender would, and hands it over.
    pub fn stage(
        &self,
        disk: &mut Disk,
        source: &Arc<Root>,
        batch: &SourceBatch,
        (number, needs, file): (BatchNo, &[Need], Option<StagedFile>),
    ) -> DiskAnswer<StagedFile> {
        let layout = Arc::new(Layout::new(&batch.manifest, 1_424).unwrap());
        let mut source = Source::new(source.clone(), batch, layout.clone());
        let body = match file {
            Some(file) => {
                copy_streamed(&mut source, &layout, &file);
                Body::File
            }
            None if layout.is_empty() || layout.streams() => Body::None,
            None => {
                let wanted = |entry: EntryNo| needs[entry.index()] == Need::All;
                let (body, failed) = source.load(Vec::new(), &wanted);
                assert_eq!(failed, []);
                Body::Memory(body)
            }
        };
        disk.run(DiskJob::Stage { key: self.key, batch: number, body }).unwrap()
    }

    pub fn commit(&self, disk: &mut Disk, number: BatchNo, strikes: &[u16]) -> Vec<Outcome> {
        match self.try_commit(disk, number, strikes) {
            DiskAnswer::Done { outcomes, .. } => outcomes,
            other => panic!("{other:?}"),
        }
    }

    pub fn try_commit(
        &self,
        disk: &mut Disk,
        batch: BatchNo,
        strikes: &[u16],
    ) -> DiskAnswer<StagedFile> {
        let strikes = strikes.iter().copied().map(EntryNo::new).collect();
        disk.run(DiskJob::Commit { key: self.key, batch, strikes }).unwrap()
    }

    pub fn close(self, disk: &mut Disk, aborted: bool) {
        let ended =
            (!aborted).then_some(Ended { is_complete: true, is_whole: true, recorded: None });
        let answer = disk.run(DiskJob::Close { key: self.key, ended });
        assert!(matches!(answer, Some(DiskAnswer::Closed { .. })));
    }

    /// All of one batch.
    pub fn batch(&mut self, disk: &mut Disk, source: &Arc<Root>, batch: &SourceBatch) -> Vec<Line> {
        let (number, needs, file) = self.plan(disk, batch);
        if self.mode.changes_nothing() {
            let outcome = |need| match need {
                Need::Failed(reason) => Outcome::Failed(reason),
                Need::Silent => Outcome::Silent,
                Need::Unsure => Outcome::Again,
                Need::ReadOnly => Outcome::ReadOnly,
                Need::Skip | Need::Attributes | Need::All | Need::Late => Outcome::Skipped,
            };
            let paths = batch.manifest.entries.iter().map(signed);
            return paths.zip(needs).map(|(path, need)| (path, need, outcome(need))).collect();
        }
        let staged = self.stage(disk, source, batch, (number, &needs, file));
        assert!(matches!(staged, DiskAnswer::Staged { .. }), "{staged:?}");
        let outcomes = self.commit(disk, number, &[]);
        assert_eq!((needs.len(), outcomes.len()), (batch.manifest.entries.len(), needs.len()));
        let entries = batch.manifest.entries.iter().zip(needs).zip(outcomes);
        entries.map(|((entry, need), outcome)| (signed(entry), need, outcome)).collect()
    }
}

fn signed(entry: &Entry) -> String {
    let sign = match entry.kind {
        Kind::Open => "+",
        Kind::Close { .. } => "-",
        _ => "",
    };
    format!("{sign}{}", entry.path)
}

/// Copies where the manifest says that there is data, 100,000 bytes at a time.
pub fn copy_streamed(source: &mut Source, layout: &Layout, file: &StagedFile) {
    let file = std::fs::File::from(file.as_fd().try_clone_to_owned().unwrap());
    for blocks in layout.blocks_of(&layout.slots()[0]) {
        let Range { start: mut at, end } = layout.bytes_of_all(blocks);
        while at < end {
            let len = (end - at).min(100_000) as usize;
            let (mut one, mut two) = (vec![0; len / 3], vec![0; len - len / 3]);
            source
                .read_at(at, &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)])
                .unwrap();
            file.write_all_at(&[one, two].concat(), at).unwrap();
            at += len as u64;
        }
    }
}

/// Sends `start` from one base directory to another, and says what became of it.
pub fn send_with(from: &Arc<Root>, disk: &mut Disk, start: &RelPath, mode: Mode) -> Vec<Line> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut transfer = Transfer::new(NUMBER.fetch_add(1, Ordering::Relaxed), mode);
    let mut lines = Vec::new();
    for batch in batches(found(from, start)) {
        lines.extend(transfer.batch(disk, from, &batch));
    }
    transfer.close(disk, false);
    lines
}

pub fn send(from: &TempDir, to: &TempDir) -> Vec<Line> {
    send_with(&from.root(), &mut to.disk(), &RelPath::base(), Mode::default())
}

/// The lines but those of what was the same already.
pub fn news(lines: &[Line]) -> Vec<(&str, Outcome)> {
    let news = lines.iter().filter(|line| line.2 != Outcome::Skipped);
    news.map(|line| (line.0.as_str(), line.2)).collect()
}

/// Everything below `base`, staging aside: attributes, and what each kind holds.
pub fn snapshot(base: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![base.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for one in std::fs::read_dir(&dir).unwrap() {
            let at = one.unwrap().path();
            let meta = std::fs::symlink_metadata(&at).unwrap();
            let kind = meta.file_type();
            let holds = if kind.is_symlink() {
                format!("{:?}", std::fs::read_link(&at).unwrap())
            } else if kind.is_file() {
                let content = std::fs::read(&at).unwrap();
                let sum = content.iter().fold(7u64, |sum, &b| sum.wrapping_mul(31) + u64::from(b));
                format!("{} bytes, {sum}", content.len())
            } else if kind.is_char_device() || kind.is_block_device() {
                format!("{}", meta.rdev())
            } else {
                String::new()
            };
            let name = at.strip_prefix(base).unwrap().as_os_str().as_bytes().to_vec();
            if name == b".makuosan" {
                continue;
            }
            if kind.is_dir() {
                todo.push(at);
            }
            let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
            let (secs, nanos) = (meta.mtime(), meta.mtime_nsec());
            all.insert(name, format!("{mode:o} {uid} {gid} {secs}.{nanos:09} {holds}"));
        }
    }
    all
}

/// How many things are staged in the directory `dir`; none if it has no place for them.
pub fn staged(dir: &Path) -> usize {
    std::fs::read_dir(dir.join(".makuosan/stage")).into_iter().flatten().count()
}

/// Both trees are the same in everything that is sent.
pub fn assert_same(one: &TempDir, other: &TempDir) {
    let (one, other) = (snapshot(one.path()), snapshot(other.path()));
    for name in one.keys().chain(other.keys()) {
        let shown = String::from_utf8_lossy(name);
        let shown: String = shown.chars().take(200).collect();
        assert_eq!(one.get(name), other.get(name), "{shown}");
    }
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

const CHILD: &str = "MAKUO_TEST_CHILD";

/// Whether this process is the one to run `test` (its full name) without root's rights. If not, it
/// has run in a process of user 65534, and passed.
pub fn is_nobody(test: &str) -> bool {
    if !is_root() {
        return true;
    }
    // Nobody may not be able to reach the program where it was built.
    let temp = TempDir::new("exe");
    let exe = temp.join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let mut command = std::process::Command::new(&exe);
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    std::os::unix::process::CommandExt::gid(&mut command, 65_534);
    run_child(command.current_dir("/"), test);
    false
}

/// Whether this process is the one to run `test` (its full name), in a mount namespace of its own. If
/// not, it has run in one and passed, or none can be made, which it says.
pub fn is_in_namespace(test: &str) -> bool {
    is_unshared(test, if is_root() { "-m" } else { "-rm" })
}

/// The same with a user namespace, whose limits are its own.
pub fn is_in_user_namespace(test: &str) -> bool {
    is_unshared(test, "-rm")
}

fn is_unshared(test: &str, flags: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let unshare = || std::process::Command::new("unshare");
    if !unshare().args([flags, "true"]).output().is_ok_and(|out| out.status.success()) {
        eprintln!("SKIPPED {test}: no namespace");
        return false;
    }
    run_child(unshare().arg(flags).arg(std::env::current_exe().unwrap()), test);
    false
}

fn run_child(command: &mut std::process::Command, test: &str) {
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    let out = loop {
        match command.output() {
            // Another test began a process while the program was being copied: until that is under
            // way, it has the copy open too.
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            out => break out.unwrap(),
        }
    };
    let said = String::from_utf8_lossy(&out.stdout);
    let complained = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("1 passed"), "{said}\n{complained}");
}

/// A mount of a test in a namespace, gone when this is dropped.
#[must_use]
pub struct Mounted(PathBuf);

pub fn mount(args: &[&str], at: &Path) -> Mounted {
    try_mount(args, at).unwrap()
}

pub fn try_mount(args: &[&str], at: &Path) -> Option<Mounted> {
    let mounted = std::process::Command::new("mount").args(args).arg(at).status().unwrap();
    mounted.success().then(|| Mounted(at.to_path_buf()))
}

pub fn mount_tmpfs(at: &Path, options: &str) -> Mounted {
    mount(&["-t", "tmpfs", "-o", options, "tmpfs"], at)
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Something may still be open in it if the test failed.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

pub fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub fn set_mtime(path: &Path, secs: i64, nanos: u32) {
    let dir = std::fs::File::open(path.parent().unwrap()).unwrap();
    let name = path.file_name().unwrap().as_bytes();
    fsat::set_mtime_at(dir.as_fd(), name, FileTime { secs, nanos }).unwrap();
}

/// One batch of what is found below `start`; there must be no more.
pub fn one_batch(root: &Arc<Root>, start: &RelPath) -> SourceBatch {
    let mut batches = batches(found(root, start));
    assert_eq!(batches.len(), 1);
    batches.remove(0)
}

/// A transfer that looks for what only the target has.
pub struct Spooling {
    pub transfer: Transfer,
    pub lines: Vec<Line>,
}

pub fn patterns(rules: &[&str]) -> Patterns {
    let rules = rules.iter().map(|rule| match rule.split_at(2) {
        ("+ ", pattern) => Rule::include(pattern.as_bytes()),
        (_, pattern) => Rule::exclude(pattern.as_bytes()),
    });
    Patterns::new(&rules.collect::<Vec<_>>()).unwrap()
}

pub fn setup(about: &RelPath, rules: &[&str]) -> Setup {
    let patterns =
        if rules.is_empty() { Vec::new() } else { patterns(rules).emit(1 << 20).remove(0) };
    Setup { path: about.clone(), patterns, ..Setup::default() }
}

/// The batches of a walk of `start` for a transfer with `mode`, as a sender makes them.
pub fn spooling_batches(
    from: &Arc<Root>,
    start: &RelPath,
    mode: Mode,
    rules: &[&str],
) -> Vec<SourceBatch> {
    listed_batches(from, start, mode, rules, None)
}

/// The same for a list of paths.
pub fn listed_batches(
    from: &Arc<Root>,
    start: &RelPath,
    mode: Mode,
    rules: &[&str],
    paths: Option<PathList>,
) -> Vec<SourceBatch> {
    let list = patterns(rules);
    let setup = Setup { listed: paths.is_some(), recursive: true, ..setup(start, rules) };
    let options = WalkOptions {
        keep: mode.spools(),
        list: paths.map(Arc::new),
        names_only: mode.names_only(),
        digests: mode.is_check(),
        skip: Some(Box::new(move |path, is_dir| list.excludes(path, is_dir))),
        ..whole()
    };
    let mut batcher = Batcher::with_setup(setup);
    let mut batches = Vec::new();
    for item in walk(from, start, options) {
        if let WalkItem::Found(found) = item {
            batches.extend(batcher.push(found));
        }
    }
    batches.extend(batcher.finish());
    batches
}

impl Spooling {
    /// Sends everything below `start`.
    pub fn send(
        from: &Arc<Root>,
        disk: &mut Disk,
        start: &RelPath,
        mode: Mode,
        rules: &[&str],
    ) -> Self {
        let mut transfer = Transfer::new(77, mode);
        let mut lines = Vec::new();
        for batch in spooling_batches(from, start, mode, rules) {
            lines.extend(transfer.batch(disk, from, &batch));
        }
        Spooling { transfer, lines }
    }

    /// Sends what is in a list of paths, each of which is whole if it ends with a slash.
    pub fn listed(
        from: &Arc<Root>,
        disk: &mut Disk,
        mode: Mode,
        rules: &[&str],
        paths: &[&str],
    ) -> Self {
        let mut transfer = Transfer::new(78, mode);
        let listed = |text: &&str| {
            let name = text.strip_suffix('/').unwrap_or(text);
            Listed { path: path(name), whole: name != *text, keeps: false, from: None }
        };
        let list = PathList::new(paths.iter().map(listed).collect());
        let batches = listed_batches(from, &RelPath::base(), mode, rules, Some(list));
        let lines = batches.iter().flat_map(|batch| transfer.batch(disk, from, batch)).collect();
        Spooling { transfer, lines }
    }

    /// All that is spooled, what failed from the start among it; and the entries.
    pub fn tally(&self, disk: &mut Disk) -> (u64, u64) {
        let tally = self.tallied(disk);
        (tally.spooled + tally.failed, tally.entries)
    }

    fn tallied(&self, disk: &mut Disk) -> DeletionTally {
        match disk.run(DiskJob::Tally { key: self.transfer.key }) {
            Some(DiskAnswer::Tallied { tally, .. }) => tally,
            other => panic!("{other:?}"),
        }
    }

    /// What was deleted, and what was not, be it that it failed from the start.
    pub fn delete(&self, disk: &mut Disk) -> (u64, u64) {
        let (deleted, failed) = match disk.run(DiskJob::Delete { key: self.transfer.key }) {
            Some(DiskAnswer::Deleted { deleted, failed, .. }) => (deleted, failed),
            other => panic!("{other:?}"),
        };
        (deleted, failed + self.tallied(disk).failed)
    }

    pub fn pages(&self, disk: &mut Disk) -> Vec<(String, SpoolCode)> {
        let mut all: Vec<(String, SpoolCode)> = Vec::new();
        loop {
            let skip = all.len() as u64;
            match disk.run(DiskJob::Page { key: self.transfer.key, skip, room: 200 }) {
                Some(DiskAnswer::Page { names, .. }) if names.is_empty() => return all,
                Some(DiskAnswer::Page { names, skip: from, .. }) => {
                    assert_eq!(from, skip);
                    all.extend(names.into_iter().map(|(code, path)| (path.to_string(), code)));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn names(&self, disk: &mut Disk) -> Vec<String> {
        self.pages(disk).into_iter().map(|(name, _)| name).collect()
    }
}
