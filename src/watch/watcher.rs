//! The thread that watches.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::moment::Moment;
use super::mounts::Mounts;
use super::tree::Tree;
use super::types::{Command, Event, Numbers, WatchNo};
use crate::engine::rng::Rng;
use crate::errno::ErrorText;
use crate::log;
use crate::sys::Waker;
use crate::sys::poll::{Interest, PollFd, poll};
use crate::time::{Span, Time};

/// How long directories are searched before events are read again.
const SLICE: Span = Span::from_millis(10);

/// How the watcher tells the time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The time that only goes forward.
    pub now: fn() -> Time,
    /// Seconds since 1970-01-01 00:00 UTC, and nanoseconds.
    pub wall: fn() -> (i64, u32),
}

/// Where the watcher's events go.
pub type Tell = Box<dyn FnMut(Event) + Send>;

type SharedNumbers = Arc<Mutex<BTreeMap<WatchNo, Numbers>>>;

/// What the daemon has of the watcher.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: Sender<Command>,
    waker: Waker,
    numbers: SharedNumbers,
}

/// The watcher: a thread's work.
pub struct Watcher {
    clock: Clock,
    rng: Rng,
    commands: Receiver<Command>,
    waker: Waker,
    numbers: SharedNumbers,
    tell: Tell,
    trees: BTreeMap<WatchNo, Tree>,
    /// None: nobody tells of mounts.
    mounts: Option<Arc<Mounts>>,
}

impl Handle {
    /// Tells the watcher something. After its end, nobody hears it.
    pub fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }

    /// How each watch fares.
    pub fn numbers(&self) -> Vec<(WatchNo, Numbers)> {
        let numbers = lock(&self.numbers);
        numbers.iter().map(|(watch, numbers)| (*watch, numbers.clone())).collect()
    }
}

impl Watcher {
    /// A watcher of nothing yet, whose events go to `tell`.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new(
        clock: Clock,
        seed: u64,
        mounts: Option<Arc<Mounts>>,
        tell: Tell,
    ) -> io::Result<(Self, Handle)> {
        let (sender, commands) = mpsc::channel();
        let (waker, numbers) = (Waker::new()?, SharedNumbers::default());
        let handle =
            Handle { commands: sender, waker: waker.clone(), numbers: Arc::clone(&numbers) };
        let (rng, trees) = (Rng::new(seed), BTreeMap::new());
        Ok((Watcher { clock, rng, commands, waker, numbers, tell, trees, mounts }, handle))
    }

    /// Watches until [`Command::Stop`].
    pub fn run(mut self) {
        while self.turn() {}
    }

    fn moment(&self) -> Moment {
        Moment { now: (self.clock.now)(), wall: (self.clock.wall)() }
    }

    /// Does what there is to do, and waits for the next. False at the end.
    fn turn(&mut self) -> bool {
        self.waker.drain();
        while let Ok(command) = self.commands.try_recv() {
            if matches!(command, Command::Stop) {
                return false;
            }
            self.command(command);
        }
        let mut events = VecDeque::new();
        let mut wait = None;
        for (watch, tree) in &mut self.trees {
            let mut at = Moment { now: (self.clock.now)(), wall: (self.clock.wall)() };
            let began = at.now;
            tree.read(at.now);
            while tree.is_busy() && at.now.since(began) < SLICE {
                tree.step(at);
                at.now = (self.clock.now)();
            }
            tree.advance(at, &mut events);
            let next = if tree.is_busy() { Some(Time::ZERO) } else { tree.next() };
            wait = wait.into_iter().chain(next).min();
            lock(&self.numbers).insert(*watch, tree.numbers());
        }
        events.into_iter().for_each(|event| (self.tell)(event));
        self.wait(wait);
        true
    }

    fn wait(&mut self, until: Option<Time>) {
        let now = (self.clock.now)();
        let mut fds = vec![PollFd::new(self.waker.as_fd(), Interest::Read)];
        fds.extend(self.trees.values().map(|tree| PollFd::new(tree.fd(), Interest::Read)));
        if let Some(mounts) = &self.mounts {
            // What can be read of it is always there: a change is an error.
            fds.push(PollFd::new(mounts.as_fd(), Interest::Nothing));
        }
        let polled = poll(&mut fds, until.map(|until| until.since(now)));
        let is_mounted = self.mounts.is_some() && fds.last().is_some_and(PollFd::failed);
        if let Err(error) = polled {
            // Memory is short: nothing is lost, but this must not be a busy loop.
            log::limited(
                log::Level::ERROR,
                "watch",
                None,
                format_args!("watch: poll: {}", ErrorText(&error)),
            );
            std::thread::sleep(Span::from_secs(1).into());
        }
        if let Some(mounts) = self.mounts.as_deref().filter(|_| is_mounted) {
            let now = (self.clock.now)();
            self.trees.values_mut().for_each(|tree| tree.mounted(now, mounts));
        }
    }

    fn command(&mut self, command: Command) {
        let at = self.moment();
        let watch = match command {
            Command::Add { watch, root, config } => {
                match Tree::open(watch, root, config, at, self.rng.next_u64()) {
                    Ok(mut tree) => {
                        if let Some(mounts) = &self.mounts {
                            tree.mounted(at.now, mounts);
                        }
                        self.trees.insert(watch, tree);
                    }
                    Err(why) => (self.tell)(Event::Refused(watch, why)),
                }
                return;
            }
            Command::Remove(watch) => {
                self.trees.remove(&watch);
                lock(&self.numbers).remove(&watch);
                return;
            }
            Command::Base(root) => {
                for tree in self.trees.values_mut() {
                    tree.command(at, Command::Base(Arc::clone(&root)));
                }
                return;
            }
            Command::Stop => return,
            Command::Release(watch)
            | Command::Reach { watch, .. }
            | Command::Done { watch, .. } => watch,
        };
        if let Some(tree) = self.trees.get_mut(&watch) {
            tree.command(at, command);
        }
    }
}

fn lock(numbers: &SharedNumbers) -> MutexGuard<'_, BTreeMap<WatchNo, Numbers>> {
    numbers.lock().unwrap_or_else(PoisonError::into_inner)
}
