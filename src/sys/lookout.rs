//! A second process, which keeps the rights and the root directory that the daemon gives up, and whose
//! whole work is to answer one question.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use super::cvt;
use super::daemonize::{exit_now, fork, leave_directory, reap, single_threaded};

/// What a terminal, or somebody who means the daemon by its name, sends to both processes. This one ends
/// when the daemon does.
const NOT_FOR_IT: [libc::c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// An answer.
pub type Answer = [u64; 4];

/// The process. It ends with this value, or with the process that has it.
#[derive(Debug)]
pub struct Lookout {
    socket: Mutex<UnixStream>,
    child: libc::pid_t,
}

impl Lookout {
    /// Starts it; `answer` is all that it does. To be called before any thread exists.
    ///
    /// # Errors
    /// There are other threads (`Other`); no process, socket or `/dev/null` is to be had.
    pub fn start(answer: impl Fn() -> Answer) -> io::Result<Self> {
        if !single_threaded() {
            return Err(io::Error::other("cannot fork while other threads run"));
        }
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let (socket, theirs) = UnixStream::pair()?;
        match fork()? {
            Some(child) => Ok(Lookout { socket: Mutex::new(socket), child }),
            None => {
                drop(socket);
                let _ = serve(&null, theirs, &answer);
                exit_now(0)
            }
        }
    }

    /// Asks it.
    ///
    /// # Errors
    /// It has been killed.
    pub fn ask(&self) -> io::Result<Answer> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = [0; size_of::<Answer>()];
        socket.write_all(&[0])?;
        socket.read_exact(&mut bytes)?;
        let mut answer = Answer::default();
        for (number, bytes) in answer.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
            *number = bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        }
        Ok(answer)
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        let socket = self.socket.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = socket.shutdown(std::net::Shutdown::Both);
        reap(self.child);
    }
}

/// Answers until nobody asks any more.
fn serve(null: &File, mut socket: UnixStream, answer: &impl Fn() -> Answer) -> io::Result<()> {
    for signal in NOT_FOR_IT {
        // SAFETY: no handler is installed, and these signals may be ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Whoever started the daemon may wait for the end of these streams.
    for stream in 0..=2 {
        // SAFETY: the numbers of the standard streams belong to no owner that could miss them.
        cvt(unsafe { libc::dup2(null.as_raw_fd(), stream) })?;
    }
    let _ = leave_directory();
    loop {
        socket.read_exact(&mut [0])?;
        let bytes: Vec<u8> = answer().iter().flat_map(|number| number.to_le_bytes()).collect();
        socket.write_all(&bytes)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{self, Alone};

    #[test]
    fn it_answers_whatever_is_sent_to_it_and_ends_with_who_asks() {
        let alone =
            Alone::new(module_path!(), "it_answers_whatever_is_sent_to_it_and_ends_with_who_asks");
        alone
            .run(|dir| {
                alone::deadline();
                let path = dir.join("there");
                let look = path.clone();
                let lookout = Lookout::start(move || [u64::from(look.exists()), 2, 3, 4]).unwrap();
                assert_eq!(lookout.ask().unwrap(), [0, 2, 3, 4]);
                std::fs::write(path, "").unwrap();
                for signal in NOT_FOR_IT {
                    // SAFETY: numbers only.
                    unsafe { libc::kill(lookout.child, signal) };
                    assert_eq!(lookout.ask().unwrap(), [1, 2, 3, 4]);
                }
                let child = lookout.child;
                drop(lookout);
                // SAFETY: numbers only.
                assert_eq!(unsafe { libc::kill(child, 0) }, -1);
            })
            .success();
    }
}
