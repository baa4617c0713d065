//! What this daemon says to others of the records that are kept, asks of them, and sends once more for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::membership::Membership;
use super::settings::Settings;
use crate::daemon::clock;
use crate::daemon::sending::replay::Replay;
use crate::daemon::shared::Shared;
use crate::engine::catch_up::{Dialogue, DialogueConfig, Pulled, Record, RecordId, Serve, State};
use crate::engine::members::{Member, Members};
use crate::ids::TransferNo;
use crate::keeping::{Keeper, lock};
use crate::log;
use crate::name::{HostName, NodeId, RelPath};
use crate::time::Time;
use crate::wire::fetch::Request;
use crate::wire::header::block_for_mtu;
use crate::wire::hello::{MIN_MTU, Said};
use crate::wire::records::Records;

/// The talk about records, and the transfers that come of it.
pub(super) struct CatchingUp {
    shared: Arc<Shared>,
    /// None if this host keeps no records.
    dialogue: Option<Dialogue>,
    /// The transfers that run for others.
    replays: BTreeMap<TransferNo, RecordId>,
    /// It was said that this host is new here.
    is_new_said: bool,
}

impl CatchingUp {
    /// `seed` is random.
    pub(super) fn new(shared: Arc<Shared>, settings: &Settings, seed: u64, now: Time) -> Self {
        let dialogue = shared.keeper.as_ref().map(|keeper| {
            let keeper = lock(keeper);
            let config = DialogueConfig {
                room: usize::from(block_for_mtu(MIN_MTU)),
                seed,
                born: keeper.birth(),
                takes_all: settings.takes_all,
                takes: settings.receives,
                gives: !settings.no_send,
            };
            Dialogue::new(now, config, keeper.journal())
        });
        CatchingUp { shared, dialogue, replays: BTreeMap::new(), is_new_said: false }
    }

    /// What HELLO says of the records; None if none are kept.
    pub(super) fn said(&self) -> Option<Said> {
        let (dialogue, keeper) = (self.dialogue.as_ref()?, lock(self.shared.keeper.as_ref()?));
        let behind = dialogue.behind(keeper.journal());
        Some(Said { summary: keeper.summary(), behind })
    }

    /// A member has said HELLO.
    pub(super) fn hello(&mut self, now: Time, node: NodeId, members: &Members, said: Option<Said>) {
        let Some(member) = members.get(node) else { return };
        let said = said.filter(|_| members.records_possible(node));
        let summary = said.map(|said| said.summary);
        self.with(|dialogue, keeper| {
            dialogue.hello(now, member.node, &member.name, summary, keeper.journal());
        });
    }

    /// Members have left.
    pub(super) fn gone(&mut self, now: Time, nodes: &[NodeId]) {
        self.with(|dialogue, _| nodes.iter().for_each(|node| dialogue.gone(now, *node)));
    }

    /// A member says something of records.
    pub(super) fn packet(&mut self, now: Time, node: NodeId, records: Records) {
        let host = (self.shared.me(), clock::wall_millis());
        self.with(|dialogue, keeper| {
            keeper.with(|journal, lists| dialogue.packet(now, host, node, records, journal, lists));
        });
    }

    /// What makes up for a record begins to come.
    pub(super) fn begun(&mut self, id: &RecordId, node: NodeId) {
        self.with(|dialogue, _| dialogue.begun(id, node));
    }

    /// It is over.
    pub(super) fn pulled(&mut self, now: Time, id: &RecordId, how: Pulled) {
        self.with(|dialogue, keeper| {
            keeper.with(|journal, lists| dialogue.pulled(now, id, how, journal, lists));
            let path = keeper.journal().get(id).map(|(record, ..)| record.path.clone());
            let what = match path {
                Some(path) if path.is_base() => " (the base directory)".to_owned(),
                Some(path) => format!(" ({path})"),
                None => String::new(),
            };
            match how {
                Pulled::Complete => log::notice(format_args!("caught up: {id}{what}")),
                Pulled::Declined | Pulled::Failed(_) | Pulled::Lost => log::many(
                    log::Level::WARNING,
                    "catching up",
                    format_args!("not caught up: {id}{what}: {}", how.why()),
                ),
            }
        });
    }

    /// A transfer that ran for others is over.
    pub(super) fn over(&mut self, number: TransferNo) {
        if let Some(id) = self.replays.remove(&number) {
            self.with(|dialogue, _| dialogue.served(&id));
        }
    }

    /// What could not be had is asked for again now.
    pub(super) fn hurry(&mut self, now: Time) {
        self.with(|dialogue, _| dialogue.hurry(now));
    }

    /// Whom to ask for what is lacking here: those that keep records know whether they lack something themselves; if
    /// none does, all.
    pub(super) fn likely(&self, members: &Members) -> Vec<Member> {
        let keeps =
            |member: &&Member| self.dialogue.as_ref().is_some_and(|it| it.keeps(member.node));
        let keepers: Vec<Member> = members.members().filter(keeps).cloned().collect();
        if keepers.is_empty() { members.members().cloned().collect() } else { keepers }
    }

    /// Whether this host, `me`, lacks something at, above or below a path, whether it asks for it or not.
    pub(super) fn is_behind(&self, me: &HostName, path: &RelPath) -> bool {
        let Some(keeper) = &self.shared.keeper else { return false };
        lock(keeper).journal().iter().any(|(record, state, has_ended)| {
            matches!(state, State::Strange | State::Lacking | State::Partial)
                && has_ended
                && record.is_for(me)
                && *record.id.host != *me
                && (path.is_under(&record.path) || record.path.is_under(path))
        })
    }

    /// What this host has asked for is as it is on another one. Records that are about nothing
    /// else are asked for: what they name is here already, if that host had all of it.
    pub(super) fn fetched(&mut self, now: Time, request: &Request) {
        let (path, recursive, deletes) =
            (&request.path, request.recursive, request.mode.sends_and_deletes());
        self.with(|dialogue, keeper| {
            keeper.with(|journal, _| journal.reopen(path, recursive, deletes));
            dialogue.hurry(now);
        });
    }

    /// What a transfer of this path is to be warned of: this host lacks something there, and may be about to put
    /// older files over newer ones.
    pub(super) fn warning(&self, path: &RelPath) -> Option<String> {
        let keeper = lock(self.shared.keeper.as_ref()?);
        let journal = keeper.journal();
        let overlaps = |record: &Record| path.is_under(&record.path) || record.path.is_under(path);
        let records = journal.wanted().filter_map(|id| journal.get(id).map(|(record, ..)| record));
        let mut lacking = records.filter(overlaps);
        let latest = lacking.next()?;
        let what = match latest.path.is_base() {
            true => "the base directory".to_owned(),
            false => latest.path.to_string(),
        };
        let more = match lacking.count() as u64 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let host = &latest.id.host;
        Some(format!(
            "warning: this host lacks what {host} has sent ({what}{more}): what it sends may be older than what the \
             others have: see history"
        ))
    }

    /// When something is due.
    pub(super) fn next(&self, now: Time) -> Option<Time> {
        let (dialogue, keeper) = (self.dialogue.as_ref()?, self.shared.keeper.as_ref()?);
        dialogue.poll_timeout(now, lock(keeper).journal())
    }

    /// Does what is due. `oldest`: all own transfers before are closed; `number`: that of the next one. Returns the
    /// number after those that were begun.
    pub(super) fn drive(
        &mut self,
        now: Time,
        membership: &mut Membership,
        settings: &Settings,
        oldest: TransferNo,
        mut number: TransferNo,
    ) -> TransferNo {
        let (mut out, mut serves, mut has_news) = (Vec::new(), Vec::new(), false);
        self.with(|dialogue, keeper| {
            keeper.with(|journal, lists| dialogue.timeout(now, journal, lists));
            out.extend(std::iter::from_fn(|| dialogue.poll_transmit(now)));
            serves.extend(std::iter::from_fn(|| dialogue.poll_serve()));
            has_news = dialogue.take_news();
        });
        for (to, records) in out {
            membership.say_records(to, &records);
        }
        for Serve { id, nodes } in serves {
            let targets: Vec<Member> =
                nodes.iter().filter_map(|node| membership.members.get(*node)).cloned().collect();
            match self.replay(now, &id, targets, settings, oldest.min(number), number) {
                Ok(()) => {
                    self.replays.insert(number, id);
                    number = number.next();
                }
                Err(why) => {
                    log::many(
                        log::Level::WARNING,
                        "catching up",
                        format_args!("{id} is not sent once more: {why}"),
                    );
                    self.with(|dialogue, _| dialogue.served(&id));
                }
            }
        }
        if has_news {
            let is_new = self.said().is_some_and(|said| said.behind.strange > 0);
            if is_new && !std::mem::replace(&mut self.is_new_said, true) {
                log::warning(format_args!(
                    "this host is new here: it had files before it kept records, and does not take by itself what \
                     was sent before: msync fetch"
                ));
            }
            membership.members.set_records(now, self.said());
            membership.members.say_hello();
        }
        number
    }

    fn replay(
        &self,
        now: Time,
        id: &RecordId,
        targets: Vec<Member>,
        settings: &Settings,
        oldest: TransferNo,
        number: TransferNo,
    ) -> Result<(), String> {
        if targets.is_empty() {
            return Err("who wanted it has left".to_owned());
        }
        let keeper = self.shared.keeper.as_ref().ok_or("no records are kept")?;
        let (record, list) = {
            let mut keeper = lock(keeper);
            let record = keeper.journal().get(id).filter(|(_, state, _)| *state == State::Complete);
            let record =
                record.map(|(record, ..)| record.clone()).ok_or("it is not kept any more")?;
            (record, keeper.list(id).ok_or("its list cannot be read")?)
        };
        let (parallel, timeout) = (settings.parallel, settings.timeout);
        Replay { number, oldest, record, list, targets, parallel, timeout }.start(&self.shared, now)
    }

    fn with(&mut self, act: impl FnOnce(&mut Dialogue, &mut Keeper)) {
        if let (Some(dialogue), Some(keeper)) = (&mut self.dialogue, &self.shared.keeper) {
            act(dialogue, &mut lock(keeper));
        }
    }
}
