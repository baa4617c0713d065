//! Signals as something to read.
//!
//! They are blocked before the first thread starts, so that every thread has them blocked, and wait
//! in a descriptor that the control loop polls (signalfd(2)). There is no signal handler.

use super::cvt::{cvt, cvt_r};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A signal that means something to the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// `SIGTERM`.
    Term,
    /// `SIGINT`.
    Int,
    /// `SIGHUP`.
    Hup,
    /// `SIGUSR1`.
    Usr1,
    /// `SIGUSR2`.
    Usr2,
    /// `SIGQUIT`.
    Quit,
    /// `SIGXCPU`: the soft limit of CPU time is reached (setrlimit(2)). At the hard one the kernel kills.
    CpuTime,
}

/// What would end the process, and is nothing that it should end for (signal(7)): a write error that says
/// more as an errno, timers that are not ours, what some other program sends by mistake.
const IGNORED: [libc::c_int; 8] = [
    libc::SIGPIPE,
    libc::SIGXFSZ,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

impl Signal {
    /// All of them.
    pub const ALL: [Signal; 7] = [
        Signal::Term,
        Signal::Int,
        Signal::Hup,
        Signal::Usr1,
        Signal::Usr2,
        Signal::Quit,
        Signal::CpuTime,
    ];

    fn number(self) -> libc::c_int {
        match self {
            Signal::Term => libc::SIGTERM,
            Signal::Int => libc::SIGINT,
            Signal::Hup => libc::SIGHUP,
            Signal::Usr1 => libc::SIGUSR1,
            Signal::Usr2 => libc::SIGUSR2,
            Signal::Quit => libc::SIGQUIT,
            Signal::CpuTime => libc::SIGXCPU,
        }
    }

    fn from_number(number: u32) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| u32::try_from(signal.number()) == Ok(number))
    }
}

/// Where the signals of this process are read.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` in this thread and in those it will start, and opens a descriptor for them;
    /// ignores the others that nothing here asks for, real-time signals included. They stay blocked when this is dropped.
    ///
    /// To be called before any other thread is there, and after [`detach`], whose waiting parent is
    /// to be ended by a `SIGINT`.
    ///
    /// # Errors
    /// What pthread_sigmask(3), signal(2) or signalfd(2) says.
    ///
    /// [`detach`]: super::daemonize::detach
    pub fn new(signals: &[Signal]) -> io::Result<SignalFd> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset(3) fills in what it is given.
        let mut set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        };
        for signal in signals {
            // SAFETY: `set` is good for the call, and the number is a signal's.
            cvt(unsafe { libc::sigaddset(&mut set, signal.number()) })?;
        }
        // SAFETY: `set` is good for the call; the old set is not asked for.
        let errno = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        // A client that goes away, or a file that may not grow, is an errno at the next write, not the end.
        IGNORED.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()).try_for_each(ignore)?;
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: `set` is good for the call, and -1 asks for a new descriptor.
        let fd = cvt(unsafe { libc::signalfd(-1, &set, flags) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal that has come, or none. Never waits: poll the descriptor for that. Several of
    /// one kind that came since the last are one.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn read(&self) -> io::Result<Option<Signal>> {
        const SIZE: usize = mem::size_of::<libc::signalfd_siginfo>();
        loop {
            let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
            // SAFETY: `info` is writable for SIZE bytes.
            let got =
                cvt_r(|| unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), SIZE) });
            match got {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                got => got?,
            };
            // SAFETY: integers only: zeros are fine, and so is what the kernel wrote over them.
            let info = unsafe { info.assume_init() };
            if let Some(signal) = Signal::from_number(info.ssi_signo) {
                return Ok(Some(signal));
            }
        }
    }
}

/// From now on the kernel forgets children, own and adopted ones, when they end: to be called by a process
/// 1, which adopts all that lose their parent. (wait(2), NOTES)
///
/// # Errors
/// What signal(2) says.
pub fn forget_children() -> io::Result<()> {
    ignore(libc::SIGCHLD)
}

fn ignore(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no handler is set, only that the signal does nothing.
    match unsafe { libc::signal(signal, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::Alone;

    fn send(signal: libc::c_int) {
        // SAFETY: numbers only.
        cvt(unsafe { libc::kill(libc::getpid(), signal) }).unwrap();
    }

    /// Whether the descriptor can be read now.
    fn ready(fd: &SignalFd) -> bool {
        let mut poll =
            libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one entry, good for the call.
        cvt(unsafe { libc::poll(&mut poll, 1, 0) }).unwrap() == 1
    }

    #[test]
    fn every_signal_is_read_once() {
        let alone = Alone::new(module_path!(), "every_signal_is_read_once");
        alone
            .run(|_| {
                let fd = SignalFd::new(&Signal::ALL).unwrap();
                assert!(!ready(&fd));
                assert_eq!(fd.read().unwrap(), None);
                for signal in Signal::ALL {
                    send(signal.number());
                    send(signal.number());
                    assert!(ready(&fd));
                    assert_eq!(fd.read().unwrap(), Some(signal));
                    assert_eq!(fd.read().unwrap(), None);
                }
                for signal in Signal::ALL {
                    send(signal.number());
                }
                let mut seen = Vec::new();
                while let Some(signal) = fd.read().unwrap() {
                    seen.push(signal);
                }
                assert_eq!(seen.len(), Signal::ALL.len());
            })
            .success();
    }

    #[test]
    fn threads_started_later_do_not_take_them() {
        let alone = Alone::new(module_path!(), "threads_started_later_do_not_take_them");
        alone
            .run(|_| {
                let fd = SignalFd::new(&[Signal::Term]).unwrap();
                let (go, wait) = std::sync::mpsc::channel::<()>();
                let thread = std::thread::spawn(move || wait.recv());
                send(libc::SIGTERM);
                assert_eq!(fd.read().unwrap(), Some(Signal::Term));
                go.send(()).unwrap();
                thread.join().unwrap().unwrap();
            })
            .success();
    }

    #[test]
    fn what_is_not_asked_for_still_kills() {
        let alone = Alone::new(module_path!(), "what_is_not_asked_for_still_kills");
        let done = alone.run(|_| {
            let _fd = SignalFd::new(&[Signal::Term]).unwrap();
            send(libc::SIGUSR2);
        });
        assert_eq!(done.status(), 128 + libc::SIGUSR2);
    }

    #[test]
    fn what_others_send_by_mistake_does_nothing() {
        let alone = Alone::new(module_path!(), "what_others_send_by_mistake_does_nothing");
        alone
            .run(|_| {
                let _fd = SignalFd::new(&Signal::ALL).unwrap();
                IGNORED.into_iter().chain([libc::SIGRTMIN(), libc::SIGRTMAX()]).for_each(send);
            })
            .success();
    }

    #[test]
    fn a_broken_pipe_is_an_error_and_not_the_end() {
        let alone = Alone::new(module_path!(), "a_broken_pipe_is_an_error_and_not_the_end");
        alone
            .run(|_| {
                // As a C program finds it; Rust's own start-up has it ignored.
                // SAFETY: no handler is set.
                unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
                let _fd = SignalFd::new(&[]).unwrap();
                let (there, mut here) = crate::sys::daemonize::pipe().unwrap();
                drop(there);
                let why = std::io::Write::write(&mut here, b"x").unwrap_err();
                assert_eq!(why.raw_os_error(), Some(libc::EPIPE));
            })
            .success();
    }
}
