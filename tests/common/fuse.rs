//! A file system in this process's memory, mounted by FUSE: one that takes `A` and `a` for the same
//! name, keeps times by the second, or fails where a test says so.
//!
//! The protocol is that of `include/uapi/linux/fuse.h`, as far as a daemon's work needs it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const ENODEV: i32 = 19;
const ENOSYS: i32 = 38;
const ENOTEMPTY: i32 = 39;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const TYPE: u32 = 0o170_000;

/// What is particular about a file system.
#[derive(Clone, Debug)]
pub struct Traits {
    /// Names that differ in their case alone are one.
    pub folds: bool,
    /// What times are cut to, in nanoseconds.
    pub grain: u64,
    /// The last second that a time can have.
    pub last: i64,
    /// Everything belongs to root, and has the same permission bits, for ever.
    pub plain: bool,
}

impl Default for Traits {
    fn default() -> Self {
        Traits { folds: false, grain: 1, last: i64::MAX, plain: false }
    }
}

/// The file system. Dropping it does not unmount it: its mounts end with their namespaces.
pub struct Fuse {
    device: File,
    store: Arc<Mutex<Store>>,
    server: Option<JoinHandle<()>>,
}

impl Fuse {
    /// None, said aloud, where there is no FUSE.
    pub fn new(what: &str, traits: Traits) -> Option<Fuse> {
        let open = File::options().read(true).write(true).open("/dev/fuse");
        let Ok(device) = open else {
            super::skip(what, "/dev/fuse cannot be opened");
            return None;
        };
        let store = Arc::new(Mutex::new(Store::new(traits)));
        let served = Arc::clone(&store);
        let mut connection = device.try_clone().unwrap();
        let server = std::thread::spawn(move || serve(&mut connection, &served));
        Some(Fuse { device, store, server: Some(server) })
    }

    /// Shell code that mounts it on `path`, for a process whose standard input is [`Fuse::input`].
    pub fn mount(path: &str) -> String {
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions";
        format!("mount -i -t fuse -o {options} fuse {path}")
    }

    /// Gives `command` the standard input that [`Fuse::mount`] needs.
    pub fn input(&self, command: &mut Command) {
        command.stdin(Stdio::from(self.device.try_clone().unwrap()));
    }

    /// From now on directories of this name cannot be listed, for this errno; 0 ends that.
    pub fn fail_listing(&self, name: &str, errno: i32) {
        self.store.lock().unwrap().unlistable.insert(name.as_bytes().to_vec(), errno);
    }

    /// The names in the directory at `path` (empty for the top), as they are kept.
    #[track_caller]
    pub fn names(&self, path: &str) -> Vec<String> {
        let store = self.store.lock().unwrap();
        let mut at = 1;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = store.child(at, part.as_bytes()).unwrap_or_else(|_| panic!("no {path}"));
        }
        let names = store.nodes[&at].children.keys();
        let shown = names.map(|name| String::from_utf8_lossy(name).into_owned());
        shown.filter(|name| name != ".makuosan").collect()
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // Who serves it ends when nothing is mounted any more, which is after the daemon's end.
        drop(self.server.take());
    }
}

#[derive(Clone, Debug)]
struct Node {
    mode: u32,
    uid: u32,
    gid: u32,
    rdev: u32,
    mtime: (i64, u32),
    ctime: (i64, u32),
    data: Vec<u8>,
    children: BTreeMap<Vec<u8>, u64>,
    names: u32,
}

#[derive(Debug)]
struct Store {
    traits: Traits,
    nodes: HashMap<u64, Node>,
    next: u64,
    unlistable: HashMap<Vec<u8>, i32>,
}

type Answer = Result<Vec<u8>, i32>;

impl Store {
    fn new(traits: Traits) -> Store {
        let mut store =
            Store { traits, nodes: HashMap::new(), next: 1, unlistable: HashMap::new() };
        store.add(DIRECTORY | 0o755, 0, 0, 0);
        store
    }

    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> (i64, u32) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        self.cut(now.as_secs() as i64, now.subsec_nanos())
    }

    fn cut(&self, secs: i64, nanos: u32) -> (i64, u32) {
        let grain = self.traits.grain;
        let (secs, nanos) =
            if secs > self.traits.last { (self.traits.last, 0) } else { (secs, nanos) };
        let coarse = (grain / 1_000_000_000).max(1) as i64;
        let nanos = if grain >= 1_000_000_000 { 0 } else { nanos - nanos % grain as u32 };
        (secs - secs.rem_euclid(coarse), nanos)
    }

    fn add(&mut self, mode: u32, uid: u32, gid: u32, rdev: u32) -> u64 {
        let at = self.next;
        self.next += 1;
        let now = self.now();
        let node = Node {
            mode,
            uid,
            gid,
            rdev,
            mtime: now,
            ctime: now,
            data: Vec::new(),
            children: BTreeMap::new(),
            names: 1,
        };
        self.nodes.insert(at, node);
        at
    }

    fn node(&mut self, at: u64) -> Result<&mut Node, i32> {
        self.nodes.get_mut(&at).ok_or(ENOENT)
    }

    /// A name as it is kept in a directory.
    fn kept(&self, dir: u64, name: &[u8]) -> Option<Vec<u8>> {
        let children = &self.nodes.get(&dir)?.children;
        if children.contains_key(name) {
            return Some(name.to_vec());
        }
        let fold = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
        let same = |other: &&Vec<u8>| self.traits.folds && fold(other) == fold(name);
        children.keys().find(same).cloned()
    }

    fn child(&self, dir: u64, name: &[u8]) -> Result<u64, i32> {
        let kept = self.kept(dir, name).ok_or(ENOENT)?;
        Ok(self.nodes[&dir].children[&kept])
    }

    fn link(&mut self, dir: u64, name: &[u8], at: u64) -> Result<(), i32> {
        if self.kept(dir, name).is_some() {
            return Err(EEXIST);
        }
        let now = self.now();
        let node = self.node(dir)?;
        node.children.insert(name.to_vec(), at);
        (node.mtime, node.ctime) = (now, now);
        Ok(())
    }

    fn unlink(&mut self, dir: u64, name: &[u8]) -> Result<u64, i32> {
        let kept = self.kept(dir, name).ok_or(ENOENT)?;
        let now = self.now();
        let node = self.node(dir)?;
        let at = node.children.remove(&kept).ok_or(ENOENT)?;
        (node.mtime, node.ctime) = (now, now);
        let gone = self.node(at)?;
        gone.names = gone.names.saturating_sub(1);
        gone.ctime = now;
        Ok(at)
    }

    fn attr(&self, at: u64) -> Answer {
        let node = self.nodes.get(&at).ok_or(ENOENT)?;
        let mut out = Vec::new();
        let size = node.data.len() as u64;
        for word in [at, size, size.div_ceil(512), node.mtime.0 as u64] {
            out.extend(word.to_ne_bytes());
        }
        for word in [node.mtime.0 as u64, node.ctime.0 as u64] {
            out.extend(word.to_ne_bytes());
        }
        let words = [
            node.mtime.1,
            node.mtime.1,
            node.ctime.1,
            node.mode,
            node.names,
            node.uid,
            node.gid,
            node.rdev,
            4_096,
            0,
        ];
        words.iter().for_each(|word| out.extend(word.to_ne_bytes()));
        Ok(out)
    }

    /// What LOOKUP and all that makes something answer; the kernel is to keep nothing.
    fn entry(&self, at: u64) -> Answer {
        let mut out = Vec::new();
        [at, 0, 0, 0, 0].iter().for_each(|word: &u64| out.extend(word.to_ne_bytes()));
        out.extend(self.attr(at)?);
        Ok(out)
    }

    fn attributes(&self, at: u64) -> Answer {
        Ok([vec![0; 16], self.attr(at)?].concat())
    }

    fn make(&mut self, request: &Request, mode: u32, rdev: u32, name: &[u8]) -> Result<u64, i32> {
        let mode = if self.traits.plain { mode & TYPE | 0o755 } else { mode };
        let at = self.add(mode, request.uid, request.gid, rdev);
        self.link(request.node, name, at).inspect_err(|_| drop(self.nodes.remove(&at)))?;
        Ok(at)
    }

    fn set(&mut self, request: &Request) -> Answer {
        let body = &request.body;
        let valid = u32_at(body, 0);
        let now = self.now();
        let mtime = match valid {
            _ if valid & 1 << 8 != 0 => Some(now),
            _ if valid & 1 << 5 != 0 => Some(self.cut(u64_at(body, 40) as i64, u32_at(body, 60))),
            _ => None,
        };
        let plain = self.traits.plain;
        let node = self.node(request.node)?;
        let others = [(1 << 1, 76, node.uid), (1 << 2, 80, node.gid), (1, 68, node.mode)];
        let changes = |&(bit, at, has): &(u32, usize, u32)| {
            valid & bit != 0 && u32_at(body, at) & 0o7777 != has & 0o7777
        };
        if plain && others.iter().any(changes) {
            return Err(EPERM);
        }
        if valid & 1 != 0 {
            node.mode = node.mode & TYPE | u32_at(body, 68) & 0o7777;
        }
        if valid & 1 << 1 != 0 {
            node.uid = u32_at(body, 76);
        }
        if valid & 1 << 2 != 0 {
            node.gid = u32_at(body, 80);
        }
        if valid & 1 << 3 != 0 {
            node.data.resize(u64_at(body, 16) as usize, 0);
            node.mtime = now;
        }
        node.mtime = mtime.unwrap_or(node.mtime);
        node.ctime = now;
        self.attributes(request.node)
    }

    fn write(&mut self, request: &Request) -> Answer {
        let offset = u64_at(&request.body, 8) as usize;
        let data = request.body.get(40..).ok_or(EINVAL)?.to_vec();
        let now = self.now();
        let node = self.node(request.node)?;
        if node.data.len() < offset + data.len() {
            node.data.resize(offset + data.len(), 0);
        }
        node.data[offset..offset + data.len()].copy_from_slice(&data);
        (node.mtime, node.ctime) = (now, now);
        Ok([data.len() as u32, 0].iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    fn read(&mut self, request: &Request) -> Answer {
        let (offset, size) = (u64_at(&request.body, 8) as usize, u32_at(&request.body, 16));
        let data = &self.node(request.node)?.data;
        let from = offset.min(data.len());
        let to = (offset + size as usize).min(data.len());
        Ok(data[from..to].to_vec())
    }

    fn open_dir(&mut self, request: &Request) -> Answer {
        let find = |(name, errno): (&Vec<u8>, &i32)| {
            let holds = |node: &Node| node.children.get(name) == Some(&request.node);
            (*errno != 0 && self.nodes.values().any(holds)).then_some(*errno)
        };
        match self.unlistable.iter().find_map(find) {
            Some(errno) => Err(errno),
            None => Ok(vec![0; 16]),
        }
    }

    fn list(&mut self, request: &Request) -> Answer {
        let (offset, size) = (u64_at(&request.body, 8), u32_at(&request.body, 16) as usize);
        let node = self.nodes.get(&request.node).ok_or(ENOENT)?;
        let dots = [(b".".to_vec(), request.node), (b"..".to_vec(), request.node)];
        let all = dots.into_iter().chain(node.children.iter().map(|(n, at)| (n.clone(), *at)));
        let mut out = Vec::new();
        for (place, (name, at)) in (1_u64..).zip(all).skip(offset as usize) {
            let mut one = Vec::new();
            one.extend(at.to_ne_bytes());
            one.extend(place.to_ne_bytes());
            one.extend((name.len() as u32).to_ne_bytes());
            one.extend((self.nodes.get(&at).map_or(DIRECTORY, |n| n.mode) >> 12).to_ne_bytes());
            one.extend(&name);
            one.resize(one.len().next_multiple_of(8), 0);
            if out.len() + one.len() > size {
                break;
            }
            out.extend(one);
        }
        Ok(out)
    }

    fn remove(&mut self, request: &Request, is_dir: bool) -> Answer {
        let name = request.name(0);
        let at = self.child(request.node, name)?;
        let node = self.node(at)?;
        match (node.mode & TYPE == DIRECTORY, is_dir) {
            (true, false) => return Err(EISDIR),
            (false, true) => return Err(ENOTDIR),
            (true, true) if !node.children.is_empty() => return Err(ENOTEMPTY),
            _ => {}
        }
        self.unlink(request.node, name)?;
        Ok(Vec::new())
    }

    fn rename(&mut self, request: &Request, head: usize) -> Answer {
        let to_dir = u64_at(&request.body, 0);
        let flags = if head > 8 { u32_at(&request.body, 8) } else { 0 };
        let from = request.name(head).to_vec();
        let to = request.name(head + from.len() + 1).to_vec();
        let moved = self.child(request.node, &from)?;
        let there = self.child(to_dir, &to).ok();
        match (flags, there) {
            (1, Some(_)) => return Err(EEXIST),
            (2, None) => return Err(ENOENT),
            (2, Some(other)) => {
                self.unlink(request.node, &from)?;
                self.unlink(to_dir, &to)?;
                self.link(to_dir, &to, moved)?;
                self.link(request.node, &from, other)?;
                for at in [moved, other] {
                    self.node(at)?.names += 1;
                }
                return Ok(Vec::new());
            }
            (_, Some(other)) if other != moved => {
                let node = self.node(other)?;
                let was_dir = node.mode & TYPE == DIRECTORY;
                if was_dir && !node.children.is_empty() {
                    return Err(ENOTEMPTY);
                }
                if was_dir != (self.node(moved)?.mode & TYPE == DIRECTORY) {
                    return Err(if was_dir { EISDIR } else { ENOTDIR });
                }
                self.unlink(to_dir, &to)?;
            }
            _ => {}
        }
        self.unlink(request.node, &from)?;
        self.link(to_dir, &to, moved)?;
        self.node(moved)?.names += 1;
        Ok(Vec::new())
    }

    fn answer(&mut self, request: &Request) -> Option<Answer> {
        Some(match request.opcode {
            1 => self.child(request.node, request.name(0)).and_then(|at| self.entry(at)),
            // FORGET, INTERRUPT and BATCH_FORGET have no answer.
            2 | 36 | 42 => return None,
            3 => self.attributes(request.node),
            4 => self.set(request),
            5 => self.node(request.node).map(|node| node.data.clone()),
            6 => {
                let name = request.name(0).to_vec();
                let target = request.name(name.len() + 1).to_vec();
                self.make(request, SYMLINK | 0o777, 0, &name).and_then(|at| {
                    self.node(at)?.data = target;
                    self.entry(at)
                })
            }
            8 => {
                let (mode, rdev) = (u32_at(&request.body, 0), u32_at(&request.body, 4));
                let name = request.name(16);
                self.make(request, mode, rdev, name).and_then(|at| self.entry(at))
            }
            9 => {
                let mode = DIRECTORY | u32_at(&request.body, 0) & 0o7777;
                self.make(request, mode, 0, request.name(8)).and_then(|at| self.entry(at))
            }
            10 => self.remove(request, false),
            11 => self.remove(request, true),
            12 => self.rename(request, 8),
            13 => {
                let at = u64_at(&request.body, 0);
                self.link(request.node, request.name(8), at).and_then(|()| {
                    self.node(at)?.names += 1;
                    self.entry(at)
                })
            }
            14 => Ok(vec![0; 16]),
            15 => self.read(request),
            16 => self.write(request),
            17 => Ok(statfs()),
            18 | 20 | 25 | 29 | 30 => Ok(Vec::new()),
            26 => Ok(init(self.traits.grain)),
            27 => self.open_dir(request),
            28 => self.list(request),
            35 => {
                let mode = REGULAR | u32_at(&request.body, 4) & 0o7777;
                let made = self.make(request, mode, 0, request.name(16));
                made.and_then(|at| Ok([self.entry(at)?, vec![0; 16]].concat()))
            }
            45 => self.rename(request, 16),
            _ => Err(ENOSYS),
        })
    }
}

fn statfs() -> Vec<u8> {
    let mut out = Vec::new();
    [1_u64 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19]
        .iter()
        .for_each(|w| out.extend(w.to_ne_bytes()));
    [4_096_u32, 255, 4_096].iter().for_each(|word| out.extend(word.to_ne_bytes()));
    out.resize(80, 0);
    out
}

fn init(grain: u64) -> Vec<u8> {
    let mut out = Vec::new();
    // Version 7.31, reads ahead, no feature.
    [7_u32, 31, 128 << 10, 0].iter().for_each(|word| out.extend(word.to_ne_bytes()));
    [16_u16, 12].iter().for_each(|word| out.extend(word.to_ne_bytes()));
    let grain = grain.min(1_000_000_000) as u32;
    [128_u32 << 10, grain].iter().for_each(|word| out.extend(word.to_ne_bytes()));
    out.resize(64, 0);
    out
}

struct Request {
    opcode: u32,
    unique: u64,
    node: u64,
    uid: u32,
    gid: u32,
    body: Vec<u8>,
}

impl Request {
    fn new(bytes: &[u8]) -> Request {
        Request {
            opcode: u32_at(bytes, 4),
            unique: u64_at(bytes, 8),
            node: u64_at(bytes, 16),
            uid: u32_at(bytes, 24),
            gid: u32_at(bytes, 28),
            body: bytes[40..].to_vec(),
        }
    }

    /// The name that begins at `from`, up to its NUL.
    fn name(&self, from: usize) -> &[u8] {
        let rest = self.body.get(from..).unwrap_or_default();
        rest.split(|&b| b == 0).next().unwrap_or_default()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_ne_bytes(four.try_into().unwrap()))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |eight| u64::from_ne_bytes(eight.try_into().unwrap()))
}

fn serve(connection: &mut File, store: &Mutex<Store>) {
    let mut buffer = vec![0; 256 << 10];
    let mut mounted = false;
    let deadline = super::now() + super::LONG;
    loop {
        let got = match connection.read(&mut buffer) {
            Ok(got) => got,
            Err(error) if error.raw_os_error() == Some(ENODEV) => return,
            Err(error) if error.raw_os_error() == Some(ENOENT) => continue,
            // It is not mounted yet.
            Err(_) if !mounted && super::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            Err(_) => return,
        };
        mounted = true;
        let request = Request::new(&buffer[..got]);
        let Some(answer) = store.lock().unwrap().answer(&request) else { continue };
        let (errno, payload) = match answer {
            Ok(payload) => (0, payload),
            Err(errno) => (-errno, Vec::new()),
        };
        let mut out = Vec::new();
        out.extend((16 + payload.len() as u32).to_ne_bytes());
        out.extend(errno.to_ne_bytes());
        out.extend(request.unique.to_ne_bytes());
        out.extend(payload);
        let _ = connection.write(&out);
    }
}

/// The errno of a device that fails.
pub const BROKEN: i32 = EIO;
