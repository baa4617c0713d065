//! What is mounted where: no event tells of it, and what is mounted over a directory hides what is watched.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most bytes that are read of the list of mounts.
const MOST: u64 = 16 << 20;

/// The kernel's list of mounts.
#[derive(Debug)]
pub struct Mounts {
    list: File,
    /// Where, in it, what is `/` now is.
    root: PathBuf,
}

impl Mounts {
    /// The list, if there is a `/proc`. To be opened before the daemon gives up the right to: in a chroot, where
    /// `root` is what is `/` there, and by Landlock.
    pub fn open(root: PathBuf) -> Option<Self> {
        File::open("/proc/self/mountinfo").ok().map(|list| Mounts { list, root })
    }

    /// The list, as the kernel writes it; nothing, if it cannot be read.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut list = &self.list;
        let read = list.rewind().and_then(|()| list.take(MOST).read_to_end(&mut text));
        if read.is_ok() { text } else { Vec::new() }
    }

    /// The mounts that have to do with the directory at `path`: those that lead to it, and those below it. What
    /// this gives is the same as long as they are.
    pub(super) fn about(&self, path: &Path) -> u64 {
        about(&self.text(), &self.root.join(path.strip_prefix("/").unwrap_or(path)))
    }
}

impl AsFd for Mounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.list.as_fd()
    }
}

fn about(text: &[u8], path: &Path) -> u64 {
    // Some bytes of paths are written in octal: those of `path` as well, then.
    let mut shown = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => {
                shown.extend_from_slice(format!("\\{byte:03o}").as_bytes())
            }
            _ => shown.push(byte),
        }
    }
    let is_below = |path: &[u8], above: &[u8]| {
        let rest = path.strip_prefix(above.strip_suffix(b"/").unwrap_or(above));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let mut hasher = DefaultHasher::new();
    for line in text.split(|&b| b == b'\n') {
        // The number of the mount, that of the one above, the device, what of it, where, and whether it can be written.
        let mut words = line.split(|&b| b == b' ');
        let (Some(number), Some(at)) = (words.next(), words.nth(3)) else { continue };
        if is_below(at, &shown) || is_below(&shown, at) {
            let options = words.next().unwrap_or_default();
            (number, at, options.split(|&b| b == b',').next()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_that_concern_a_directory_matter() {
        let before =
            b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 8:2 / /srv/a\\040b rw - ext4 x rw\n";
        let of = |more: &str| about(&[before, more.as_bytes()].concat(), Path::new("/srv/a b/www"));
        let with = |at: &str| of(&format!("40 30 8:3 / {at} rw - ext4 x rw\n"));
        for (at, matters) in [
            ("/srv/a\\040b/www", true),
            ("/srv/a\\040b/www/d/e", true),
            ("/srv", true),
            ("/srv/a\\040b/wwwx", false),
            ("/srv/a", false),
            ("/tmp", false),
        ] {
            assert_eq!(with(at) != of(""), matters, "{at}");
        }
        assert_eq!(of("broken\n"), of(""));
    }
}
