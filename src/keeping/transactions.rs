//! The transactions of this host, as their sender and as a target: the machines of [`crate::engine::atomic`] with
//! their records on disk.
//!
//! A machine's records are written in the order of its actions, before what comes after them is done. If one cannot be
//! written, nothing that would have followed is done, and the machines are made anew from what is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::atomic::{
    Action, Coordinator, MAX_PAYLOAD, Message, Phase, Record, Refusal, Target, Transaction,
};
use crate::fs::atomic::transactions::ListId;
use crate::fs::state::dir::StateDir;
use crate::fs::state::error::StateError;
use crate::fs::state::record_file::{Found, Limits, RecordFile};
use crate::log;
use crate::name::{HostName, MAX_HOST_NAME, MAX_PATH, RelPath};
use crate::stamp::Stamp;
use crate::time::Time;
use crate::wire::Error;
use crate::wire::bytes::{Put, Reader};

/// The file of the records, beside the lists.
const FILE: &[u8] = b"log";
const LIMITS: Limits = Limits { file: 64 << 20, record: MAX_PAYLOAD };
/// The kind of the record that says what a transaction has on disk here: its stamp and its sender's name, the path, and what
/// its list is known by. It comes before PREPARED.
const HELD: u8 = 128;
/// The file is written anew when it is larger than this, and twice as large as it was then.
const LEAST: u64 = 256 << 10;

/// What a transaction has on disk here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The path that it is about.
    pub path: RelPath,
    /// What its list is known by.
    pub list: ListId,
}

/// Something that is to be done outside, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Have all that was staged made ready, then say so: [`Transactions::staged`].
    Stage(Transaction),
    /// Put it in place, then say so: [`Transactions::applied`].
    Apply(Transaction),
    /// Remove what was staged.
    Drop(Transaction),
    /// Tell a host.
    Send(HostName, Transaction, Message),
}

/// All of them.
#[derive(Debug)]
pub struct Transactions {
    name: Arc<HostName>,
    dir: StateDir,
    file: RecordFile,
    target: Target,
    coordinator: Coordinator,
    held: BTreeMap<Transaction, Held>,
    /// Each record is synced.
    fsync: bool,
    /// The file is not written anew before it is so large.
    next: u64,
}

#[derive(Default)]
struct Read {
    records: Vec<Record>,
    held: BTreeMap<Transaction, Held>,
}

impl Read {
    fn note(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        match kind {
            HELD => {
                let (of, held) = parse_held(payload)?;
                self.held.insert(of, held);
            }
            kind => self.records.push(Record::parse(kind, payload)?),
        }
        Ok(())
    }
}

fn emit_held(of: &Transaction, held: &Held) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(of.stamp.bits());
    out.put_counted(of.host.as_str().as_bytes());
    out.put_counted(held.path.as_bytes());
    out.put_u64(held.list.len);
    out.extend_from_slice(&held.list.sum);
    out
}

fn parse_held(payload: &[u8]) -> Result<(Transaction, Held), Error> {
    let mut reader = Reader::new(payload);
    let stamp = Stamp::from_bits(reader.u64()?);
    let host = HostName::parse(reader.counted(MAX_HOST_NAME)?).map_err(|_| Error::Invalid)?;
    let path = RelPath::parse_or_base(reader.counted(MAX_PATH)?).map_err(|_| Error::Invalid)?;
    let len = reader.u64()?;
    let sum = reader.array()?;
    reader.end()?;
    let list = ListId { len, sum };
    Ok((Transaction { stamp, host: Arc::new(host) }, Held { path, list }))
}

impl Transactions {
    /// Takes up what is in `dir`, for the host of this name; `birth`: about what was before that, a new file
    /// knows nothing.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(
        dir: StateDir,
        name: HostName,
        birth: Stamp,
        fsync: bool,
        now: Time,
    ) -> Result<Self, StateError> {
        let mut read = Read::default();
        let mut odd = 0u64;
        let each = |_, kind, payload: &[u8]| odd += u64::from(read.note(kind, payload).is_err());
        let (mut file, found) = RecordFile::open(&dir, FILE, &name, birth.bits(), LIMITS, each)?;
        if odd > 0 {
            log::error(format_args!("{odd} records of --atomic transfers cannot be read"));
        }
        match found {
            Found::Whole => {}
            Found::Cut(bytes) => {
                log::warning(format_args!(
                    "the last {bytes} bytes of what is kept of --atomic transfers are damaged"
                ));
            }
            Found::New | Found::SetAside(_) => {
                let (kind, payload) = Record::Born(birth).emit();
                file.append(kind, &payload)?;
                file.sync()?;
                read.records.push(Record::Born(birth));
            }
        }
        let name = Arc::new(name);
        let (target, coordinator) = machines(now, &name, &read.records);
        let next = LEAST.max(2 * file.size());
        Ok(Transactions { name, dir, file, target, coordinator, held: read.held, fsync, next })
    }

    /// What is to be done after a start.
    pub fn restart(&mut self, now: Time) -> Vec<Effect> {
        let mut actions = self.target.restart(now);
        actions.extend(self.coordinator.time(now));
        self.perform(now, actions)
    }

    /// Those that are not over here, with what they have on disk: by the numbers of their slots and lists.
    pub fn ready(&self) -> Vec<(u64, ListId)> {
        let open = self.target.log().open();
        open.filter_map(|(of, _)| Some((of.key(), self.held.get(of)?.list))).collect()
    }

    /// The numbers of their slots.
    pub fn slots(&self) -> BTreeSet<u64> {
        self.ready().into_iter().map(|(no, _)| no).collect()
    }

    /// The target's part.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The sender's part.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// Those that are in doubt here, with their paths.
    pub fn in_doubt(&self) -> impl Iterator<Item = (&Transaction, &RelPath)> {
        let open = self.target.log().open().filter(|(_, entry)| {
            entry.phase.is_in_doubt() || matches!(entry.phase, Phase::Committed(_, None))
        });
        open.filter_map(|(of, _)| Some((of, &self.held.get(of)?.path)))
    }

    /// Does something with the sender's part.
    pub fn coordinate(
        &mut self,
        now: Time,
        act: impl FnOnce(&mut Coordinator) -> Vec<Action>,
    ) -> Vec<Effect> {
        let actions = act(&mut self.coordinator);
        self.perform(now, actions)
    }

    /// A host has said something of a transaction: to its sender here, or to this target of it.
    pub fn hear(
        &mut self,
        now: Time,
        from: &HostName,
        of: &Transaction,
        message: Message,
    ) -> Vec<Effect> {
        let actions = match *of.host == *self.name {
            true => self.coordinator.hear(now, from, of, message),
            false => self.target.hear(now, from, of, message),
        };
        self.perform(now, actions)
    }

    /// [`Effect::Stage`] was done: this is on disk, with so many operations; or it could not be.
    pub fn staged(
        &mut self,
        now: Time,
        of: &Transaction,
        result: Result<(Held, u64), Refusal>,
    ) -> Vec<Effect> {
        let result = result.and_then(|(held, operations)| {
            let written = self.file.append(HELD, &emit_held(of, &held)).map_err(|e| cannot(&e));
            written.map_err(|()| Refusal::Failed)?;
            self.held.insert(of.clone(), held);
            Ok(operations)
        });
        let actions = self.target.staged(now, of, result);
        self.perform(now, actions)
    }

    /// [`Effect::Apply`] was done, but for so many operations.
    pub fn applied(&mut self, now: Time, of: &Transaction, failed: u32) -> Vec<Effect> {
        let actions = self.target.applied(of, failed);
        self.perform(now, actions)
    }

    /// An operator decides about one that is in doubt here, for this host alone. None if it is not.
    pub fn resolve(&mut self, now: Time, of: &Transaction, commits: bool) -> Option<Vec<Effect>> {
        let actions = self.target.resolve(of, commits)?;
        Some(self.perform(now, actions))
    }

    /// When [`Transactions::time`] has something to do.
    pub fn timeout(&self) -> Option<Time> {
        self.target.timeout().into_iter().chain(self.coordinator.timeout()).min()
    }

    /// Time has passed.
    pub fn time(&mut self, now: Time) -> Vec<Effect> {
        let mut actions = self.target.time(now);
        actions.extend(self.coordinator.time(now));
        self.perform(now, actions)
    }

    /// Writes what is to be kept, and gives what is to be done.
    fn perform(&mut self, now: Time, actions: Vec<Action>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for action in actions {
            effects.push(match action {
                Action::Record(record) => {
                    if let Err(error) = self.write(&record) {
                        cannot(&error);
                        self.begin_anew(now);
                        return effects;
                    }
                    continue;
                }
                Action::Stage(of) => Effect::Stage(of),
                Action::Apply(of) => Effect::Apply(of),
                Action::Drop(of) => {
                    self.held.remove(&of);
                    Effect::Drop(of)
                }
                Action::Send(host, of, message) => Effect::Send(host, of, message),
            });
        }
        if self.file.size() > self.next {
            if let Err(error) = self.rewrite() {
                cannot(&error);
            }
            self.next = LEAST.max(2 * self.file.size());
        }
        effects
    }

    fn write(&mut self, record: &Record) -> Result<(), StateError> {
        let (kind, payload) = record.emit();
        self.file.append(kind, &payload)?;
        if self.fsync { self.file.sync() } else { Ok(()) }
    }

    /// Takes the machines from what is on disk.
    fn begin_anew(&mut self, now: Time) {
        let mut read = Read::default();
        let each = |_, kind, payload: &[u8]| {
            let _ = read.note(kind, payload);
        };
        let birth = self.file.birth();
        match RecordFile::open(&self.dir, FILE, &self.name, birth, LIMITS, each) {
            Ok((file, _)) => {
                self.file = file;
                (self.target, self.coordinator) = machines(now, &self.name, &read.records);
                self.held = read.held;
            }
            Err(error) => cannot(&error),
        }
    }

    /// Writes the file anew, with what is of use.
    fn rewrite(&mut self) -> Result<(), StateError> {
        let open: BTreeSet<&Transaction> = self.target.log().open().map(|(of, _)| of).collect();
        self.held.retain(|of, _| open.contains(of));
        let held = &self.held;
        let records = self.target.log().records();
        let decided = self.coordinator.decisions().records();
        self.file.rewrite(|file| {
            for (of, held) in held {
                file.append(HELD, &emit_held(of, held))?;
            }
            for record in records.into_iter().chain(decided) {
                let (kind, payload) = record.emit();
                file.append(kind, &payload)?;
            }
            Ok(())
        })
    }
}

fn machines(now: Time, name: &Arc<HostName>, records: &[Record]) -> (Target, Coordinator) {
    let coordinator = Coordinator::new(now, Arc::clone(name), records);
    (Target::new(Arc::clone(name), records), coordinator)
}

fn cannot(error: &StateError) {
    log::error(format_args!("what becomes of --atomic transfers cannot be kept: {error}"));
}
