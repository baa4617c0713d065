//! A wall clock that is wrong for one process. Nothing in the programs can be told another time: a
//! library is loaded before the system's own, and answers `clock_gettime` in its place.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::preload;
use super::process::{MAKUOSAN, command};

/// Adds the first eight bytes of a file, as seconds, to the wall clock. The file is mapped before the
/// program confines itself.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long long *ahead;
__attribute__((constructor)) static void map(void) {
    const char *path = getenv("WRONG_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) ahead = at;
    if (fd >= 0) close(fd);
}
int clock_gettime(clockid_t id, struct timespec *time) {
    int done = syscall(SYS_clock_gettime, id, time);
    if (done == 0 && id == CLOCK_REALTIME && ahead) time->tv_sec += *ahead;
    return done;
}
"#;

/// A clock, which is right at first.
pub struct WrongClock {
    library: PathBuf,
    file: PathBuf,
}

impl WrongClock {
    /// Makes one below `dir`. None, said aloud, where it cannot be had.
    #[track_caller]
    pub fn new(what: &str, dir: &Path) -> Option<WrongClock> {
        let file = dir.join("clock");
        fs::write(&file, [0; 8]).unwrap();
        let library = preload::library(what, dir, "clock", SOURCE)?;
        Some(WrongClock { library, file })
    }

    /// From now on it is ahead by so many seconds.
    pub fn set(&self, seconds: i64) {
        let file = OpenOptions::new().write(true).open(&self.file).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// The daemon, with this clock.
    pub fn makuosan(&self) -> Command {
        let mut makuosan = command(MAKUOSAN);
        makuosan.env("LD_PRELOAD", &self.library).env("WRONG_CLOCK", &self.file);
        makuosan
    }
}
