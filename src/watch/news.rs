//! What the kernel tells of a tree, and which names change by that.

use super::dirty::{Key, Settling};
use super::ground::Ground;
use super::scan::Scan;
use super::types::Why;
use crate::name::{MAX_PATH, STAGING};
use crate::sys::inotify::{Event, Wd};
use crate::time::Time;

/// What is known between one event and the next.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The first half of a move, if that was the last event.
    moved: Option<Moved>,
}

#[derive(Debug)]
struct Moved {
    cookie: u32,
    key: Key,
    /// Where targets have what was moved, if they do.
    from: Option<Box<[u8]>>,
}

/// What concerns the tree as a whole.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Something has happened to the watched directory itself, or to the base directory.
    pub(super) about_top: bool,
    /// All of it is to be sent.
    pub(super) why: Option<Why>,
}

impl News {
    /// Reads what has happened, until there is nothing.
    pub(super) fn read(&mut self, ground: &mut Ground, scan: &mut Scan, now: Time) -> Heard {
        let mut heard = Heard::default();
        loop {
            // Taken out, as what is read changes the rest.
            let mut happened = Vec::new();
            let read = ground.inotify.read(|event| happened.push(Happened::of(&event)));
            for event in happened {
                self.take(ground, scan, now, event, &mut heard);
            }
            scan.watch_new(ground, now);
            if !matches!(read, Ok(true)) {
                break;
            }
        }
        if ground.dirty.is_full {
            ground.dirty.clear();
            heard.why.get_or_insert(Why::TooMany);
        }
        heard
    }

    fn take(
        &mut self,
        ground: &mut Ground,
        scan: &mut Scan,
        now: Time,
        event: Happened,
        heard: &mut Heard,
    ) {
        let Happened { wd, what, .. } = event;
        match what {
            What::Overflow => drop(heard.why.get_or_insert(Why::Overflow)),
            What::Unmount => {
                ground.dirty.forget_in(wd);
                heard.about_top |= ground.is_above(wd);
                heard.why.get_or_insert(Why::Mounts);
            }
            What::End => {
                heard.about_top |= ground.is_above(wd);
                ended(ground, wd);
            }
            What::Itself => heard.about_top |= ground.is_above(wd),
            What::Name(of_name) => {
                let is_about_other = event.name.is_empty() && wd != ground.top;
                let is_ours = event.name.as_ref() == STAGING;
                if !is_about_other && !is_ours && ground.table.has(wd) {
                    self.name(ground, scan, now, ((wd, event.name), event.cookie), of_name);
                }
            }
        }
    }

    fn name(
        &mut self,
        ground: &mut Ground,
        scan: &mut Scan,
        now: Time,
        (key, cookie): (Key, u32),
        OfName { come, gone, is_directory, settling }: OfName,
    ) {
        if come || gone {
            ground.table.count(key.0, come);
        }
        let pair = self.moved.take().filter(|moved| come && moved.cookie == cookie);
        let is_unknown = is_directory && ground.table.child(key.0, &key.1).is_none();
        if is_directory && !gone && (come || is_unknown) && !key.1.is_empty() {
            scan.has_come(key.clone());
        }
        if gone && cookie != 0 {
            self.moved = Some(Moved { cookie, key: key.clone(), from: from(ground, &key) });
        }
        if covered(ground, now, &key, settling) {
            return;
        }
        let Some(name) = ground.dirty.touch(now, key, settling) else { return };
        if gone {
            (name.went, name.moved, name.whole, name.from) = (true, false, false, None);
        }
        if let Some(moved) = pair {
            name.from = moved.from;
            if let Some(name) = ground.dirty.get_mut(&moved.key) {
                name.moved = true;
            }
        }
    }
}

/// A directory is watched no longer.
fn ended(ground: &mut Ground, wd: Wd) {
    let place = ground.table.place(wd).map(|(parent, name)| (parent, name.to_vec()));
    match place {
        Some((parent, name)) => ground.dirty.hand_up(wd, parent, &name),
        None => ground.dirty.forget_in(wd),
    }
    ground.table.remove(wd);
}

/// Where targets are likely to have what is at this name.
fn from(ground: &Ground, key: &Key) -> Option<Box<[u8]>> {
    match ground.dirty.get(key) {
        Some(name) if name.from.is_some() => name.from.clone(),
        // What has changed is not there yet.
        Some(_) => None,
        None => {
            let path = ground.path(key)?;
            let is_sent = !ground.excludes(&path, false);
            is_sent.then(|| path.as_bytes().into())
        }
    }
}

/// Whether a name is in a directory that is to be sent with all that is in it. That waits, as it would for
/// itself.
fn covered(ground: &mut Ground, now: Time, key: &Key, settling: Settling) -> bool {
    if !ground.dirty.has_wholes() {
        return false;
    }
    let mut at = key.0;
    // A path has no more components than this.
    for _ in 0..MAX_PATH {
        let Some((parent, name)) = ground.table.place(at) else { return false };
        let above: Key = (parent, name.into());
        if ground.dirty.get(&above).is_some_and(|name| name.whole) {
            ground.dirty.touch(now, above, settling);
            return true;
        }
        at = parent;
    }
    false
}

/// An event that was taken out of the buffer.
#[derive(Debug)]
struct Happened {
    wd: Wd,
    cookie: u32,
    name: Box<[u8]>,
    what: What,
}

/// What it says.
#[derive(Clone, Copy, Debug)]
enum What {
    /// Events have been lost.
    Overflow,
    /// The file system that the directory is on was unmounted.
    Unmount,
    /// The directory is watched no longer.
    End,
    /// The directory itself was moved or removed.
    Itself,
    /// Something has happened to a name in the directory.
    Name(OfName),
}

impl Happened {
    fn of(event: &Event<'_>) -> Self {
        let what = if event.is_overflow() {
            What::Overflow
        } else if event.is_unmount() {
            What::Unmount
        } else if event.is_end() {
            What::End
        } else if event.is_of_itself() {
            What::Itself
        } else {
            let settling = if event.is_being_written() {
                Settling::Writing
            } else if event.is_new() && !event.is_directory() {
                Settling::New
            } else if event.is_attributes() {
                Settling::Attributes
            } else {
                Settling::Settled
            };
            What::Name(OfName {
                come: event.has_come(),
                gone: event.has_gone(),
                is_directory: event.is_directory(),
                settling,
            })
        };
        Happened { wd: event.wd, cookie: event.cookie, name: event.name.into(), what }
    }
}

/// What has happened to a name.
#[derive(Clone, Copy, Debug)]
struct OfName {
    come: bool,
    gone: bool,
    is_directory: bool,
    settling: Settling,
}
