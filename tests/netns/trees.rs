//! Trees to be sent, and whether two of them are equal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Makes one file of `big` bytes and `small` files in some directories, and a few links. The bytes
/// differ from file to file and from block to block. Gives how many bytes of files there are.
pub fn fill(base: &Path, big: usize, small: usize) -> u64 {
    let mut noise = Noise(big as u64 ^ 0x5DEE_CE66);
    let mut total = big as u64;
    fs::write(base.join("big"), noise.bytes(big)).unwrap();
    for at in 0..small {
        let dir = base.join(format!("d{}", at % 17)).join("below");
        fs::create_dir_all(&dir).unwrap();
        // 0 to 24 KiB, most of them small.
        let size = ((noise.next() % 24_576) >> (at % 8)) as usize;
        total += size as u64;
        let path = dir.join(format!("f{at}"));
        fs::write(&path, noise.bytes(size)).unwrap();
        let mode = [0o644, 0o600, 0o755, 0o444][at % 4];
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("big", base.join("link")).unwrap();
    symlink("/nowhere/at all", base.join("dangling")).unwrap();
    fs::create_dir(base.join("empty")).unwrap();
    total
}

/// Makes `dirs` directories with `files` small files in each.
pub fn fill_directories(base: &Path, dirs: usize, files: usize) {
    for dir in 0..dirs {
        let dir = base.join(format!("tree/d{dir:03}"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..files {
            fs::write(dir.join(format!("f{file}")), format!("{file} ").repeat(file % 20)).unwrap();
        }
    }
}

struct Noise(u64);

impl Noise {
    /// xorshift64 (Marsaglia, 2003).
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..count / 8 + 1).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes
    }
}

/// What two trees must have in common at one path. The bytes of files are compared apart.
#[derive(PartialEq, Eq, Debug)]
struct Entry {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    changed: (i64, i64),
    target: Option<PathBuf>,
}

fn entries(base: &Path, below: &Path, all: &mut BTreeMap<PathBuf, Entry>) {
    for found in fs::read_dir(base.join(below)).unwrap() {
        let path = below.join(found.unwrap().file_name());
        if path.as_os_str() == ".makuosan" {
            continue;
        }
        let full = base.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let kind = match meta.file_type() {
            t if t.is_dir() => 'd',
            t if t.is_file() => 'f',
            t if t.is_symlink() => 'l',
            t if t.is_fifo() => 'p',
            _ => '?',
        };
        let entry = Entry {
            kind,
            mode: if kind == 'l' { 0 } else { meta.mode() & 0o7777 },
            owner: (meta.uid(), meta.gid()),
            size: if kind == 'd' { 0 } else { meta.size() },
            changed: (meta.mtime(), meta.mtime_nsec()),
            target: (kind == 'l').then(|| fs::read_link(&full).unwrap()),
        };
        all.insert(path.clone(), entry);
        if kind == 'd' {
            entries(base, &path, all);
        }
    }
}

/// What differs between two trees, if anything: a few lines. `owners`: whether these count.
pub fn difference(one: &Path, other: &Path, owners: bool) -> Option<String> {
    let read = |base: &Path| {
        let mut all = BTreeMap::new();
        entries(base, Path::new(""), &mut all);
        if !owners {
            all.values_mut().for_each(|entry| entry.owner = (0, 0));
        }
        all
    };
    let (ones, others) = (read(one), read(other));
    let mut lines = Vec::new();
    for (path, entry) in &ones {
        if others.get(path) != Some(entry) {
            lines.push(format!("{path:?}: {entry:?} but {:?}", others.get(path)));
        } else if entry.kind == 'f'
            && fs::read(one.join(path)).unwrap() != fs::read(other.join(path)).unwrap()
        {
            lines.push(format!("{path:?}: other bytes"));
        }
    }
    lines.extend(others.keys().filter(|p| !ones.contains_key(*p)).map(|p| format!("{p:?}: new")));
    (!lines.is_empty()).then(|| {
        let count = lines.len();
        lines.truncate(5);
        format!(
            "{} and {}: {count} differences:\n{}",
            one.display(),
            other.display(),
            lines.join("\n")
        )
    })
}

/// What is left in the staging directory of a base directory.
pub fn staged(base: &Path) -> Vec<OsString> {
    let names = fs::read_dir(base.join(".makuosan/stage")).into_iter().flatten();
    names.map(|entry| entry.unwrap().file_name()).collect()
}
