//! MD5 digests of files, which `check` and `--checksum` compare.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use md5::{Digest as _, Md5};

use super::identity::{Identity, open_to_read};
use super::listings::still_young;
use super::moment::Taker;
use crate::sys::fsat;
use crate::wire::manifest::{Digest, Stamp};

/// How much is read at a time: small enough to be still in the CPU cache when it is hashed.
const CHUNK: usize = 256 << 10;

/// Computes digests with a buffer that is used again.
#[derive(Debug, Default)]
pub(super) struct Digester {
    buf: Vec<u8>,
}

impl Digester {
    /// The digest of the regular file `name` in `dir`. None if the file does not match `identity`
    /// before or after it was read, or as soon as `cancelled` returns true. If only its ctime has moved, its
    /// content is read again.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub fn digest(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        identity: &Identity,
        cancelled: &dyn Fn() -> bool,
    ) -> io::Result<Option<Digest>> {
        self.buf.resize(CHUNK, 0);
        let mut file = match open_to_read(dir, name).map_err(|e| (e.raw_os_error(), e)) {
            Ok(fd) => File::from(fd),
            // Something else has taken its place.
            Err((Some(libc::EISDIR | libc::ENXIO | libc::ESTALE), _)) => return Ok(None),
            Err((_, e)) => return Err(e),
        };
        if !identity.is_but_touched(&fsat::stat_fd(file.as_fd())?) {
            return Ok(None);
        }
        let mut md5 = Md5::new();
        let mut left = identity.size;
        while left > 0 {
            if cancelled() {
                return Ok(None);
            }
            match file.read(&mut self.buf) {
                Ok(0) => return Ok(None),
                Ok(got) => {
                    md5.update(self.buf.get(..got).unwrap_or(&[]));
                    left = left.saturating_sub(got as u64);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let stat = fsat::stat_fd(file.as_fd())?;
        if identity.is(&stat) || !identity.is_but_touched(&stat) {
            return Ok(identity.is(&stat).then(|| md5.finalize().into()));
        }
        // By the time of that change, not by a clock: a whole tick is waited for.
        let wait = |ctime: Stamp| still_young(ctime, (ctime.secs, ctime.nanos));
        let taker = Taker { wait: &wait, cancelled, digest: true, copies: None };
        let taken = taker.take(&file)?.filter(|taken| identity.is_but_touched(&taken.stat));
        Ok(taken.and_then(|taken| taken.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn hex(digest: Digest) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_rfc_1321_at_any_length() {
        let temp = TempDir::new("digest");
        let long = vec![b'a'; 3 * CHUNK + 17];
        let cases = [
            (&b""[..], "d41d8cd98f00b204e9800998ecf8427e".to_string()),
            (b"abc", "900150983cd24fb0d6963f7d28e17f72".to_string()),
            (&long, hex(Md5::digest(&long).into())),
        ];
        let root = temp.root();
        let mut digester = Digester::default();
        for (content, want) in cases {
            temp.write("f", content);
            let identity = Identity::of(&fsat::stat_at(root.as_fd(), b"f").unwrap());
            let got = digester.digest(root.as_fd(), b"f", &identity, &|| false).unwrap();
            assert_eq!(got.map(hex), Some(want));
            for other in [
                Identity { size: identity.size + 1, ..identity },
                Identity { ino: identity.ino + 1, ..identity },
            ] {
                assert_eq!(digester.digest(root.as_fd(), b"f", &other, &|| false).unwrap(), None);
            }
        }
        temp.mkdir("d");
        std::os::unix::fs::symlink("f", temp.join("l")).unwrap();
        let identity = Identity::of(&fsat::stat_at(root.as_fd(), b"f").unwrap());
        assert_eq!(digester.digest(root.as_fd(), b"d", &identity, &|| false).unwrap(), None);
        assert!(digester.digest(root.as_fd(), b"l", &identity, &|| false).is_err());
        assert!(digester.digest(root.as_fd(), b"none", &identity, &|| false).is_err());
    }
}
