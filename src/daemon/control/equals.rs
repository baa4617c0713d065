//! The trees that this host mirrors, and what of each is under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::reach::Reach;
use crate::console::mirror_row::{MirrorRow, PeerRow};
use crate::console::reply::{self};
use crate::daemon::clock;
use crate::daemon::looker::Looker;
use crate::daemon::order::Order;
use crate::daemon::shared::Shared;
use crate::engine::members::{Member, Members};
use crate::ids::TransferNo;
use crate::keeping::mirrors::{Delta, Mirrors, State, TreeNo};
use crate::mirror::dialogue::{Dialogue, Own};
use crate::mirror::roster::Roster;
use crate::name::{HostName, NodeId, RelPath};
use crate::pattern::Patterns;
use crate::time::Time;
use crate::watch::types::WatchNo;
use crate::wire::mirror::{MAX_TREES, Standing};
use crate::wire::names::Hash;
use crate::wire::setup::MirrorSetup;
use crate::wire::versions::{IndexId, Knowledge};

/// All of them.
pub(super) struct Equals {
    pub(super) mirrors: Option<Arc<Mirrors>>,
    pub(super) looker: Option<Looker>,
    pub(super) trees: Vec<Equal>,
    /// What others were told at once, but for what is known of the trees.
    pub(super) told: Vec<Standing>,
    /// Members that were silent in a transfer, and since when: they get no more before they are heard.
    pub(super) silent: BTreeMap<NodeId, Time>,
    /// The flushes for which others are asked whether they have all.
    pub(super) reaches: Vec<Reach>,
}

/// A tree that is mirrored.
pub(super) struct Equal {
    pub(super) tree: TreeNo,
    pub(super) path: RelPath,
    /// What it is called on the wire.
    pub(super) hash: Hash,
    pub(super) watch: WatchNo,
    pub(super) patterns: Arc<Patterns>,
    /// Where nobody has an index, this host's files are the origin.
    pub(super) first: bool,
    /// Everything has been looked at once.
    pub(super) is_ready: bool,
    /// How often something is being looked at, or is to be.
    pub(super) looking: usize,
    /// That is everything.
    pub(super) whole: bool,
    /// The watcher waits for an answer.
    pub(super) flush: bool,
    /// Up to which own dot everything has been sent, of which index.
    pub(super) sent: (IndexId, u64),
    /// What is to be sent next, to whom: all, or those who have asked.
    pub(super) queue: VecDeque<Next>,
    /// What is sent now.
    pub(super) sending: Option<(TransferNo, Next)>,
    /// When to begin with the next.
    pub(super) due: Time,
    /// When to look whether what is held is there again.
    pub(super) next_back: Time,
    /// Who asks whom, and who serves whom; once everything has been looked at.
    pub(super) dialogue: Option<Dialogue>,
    /// What others have said of what they know, in this run.
    pub(super) roster: Roster<HostName>,
    /// All have said that they know no more of this index than itself.
    pub(super) is_vouched: bool,
    /// Until when the first look waits for that.
    pub(super) waits: Option<Time>,
}

/// A transfer that is to begin.
#[derive(Clone, Debug)]
pub(super) struct Next {
    pub(super) order: Arc<Order>,
    pub(super) delta: Arc<Delta>,
    /// None: all who mirror the tree.
    pub(super) to: Option<Vec<NodeId>>,
}

impl Equals {
    pub(super) fn new(shared: &Shared) -> Self {
        Equals {
            mirrors: shared.mirrors.clone(),
            looker: None,
            trees: Vec::new(),
            told: Vec::new(),
            silent: BTreeMap::new(),
            reaches: Vec::new(),
        }
    }

    pub(super) fn of_watch(&self, watch: WatchNo) -> Option<usize> {
        self.trees.iter().position(|one| one.watch == watch)
    }

    pub(super) fn of_tree(&self, tree: TreeNo) -> Option<usize> {
        self.trees.iter().position(|one| one.tree == tree)
    }

    pub(super) fn state(&self, at: usize) -> Option<Arc<State>> {
        self.mirrors.as_ref()?.state(self.trees.get(at)?.tree)
    }

    /// What HELLO says of them.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let standing = |(at, one): (usize, &Equal)| Some(one.standing(&*self.state(at)?));
        self.trees.iter().enumerate().filter_map(standing).take(MAX_TREES).collect()
    }

    /// Whether something of a tree is coming in.
    pub(super) fn is_receiving(&self, tree: Hash) -> bool {
        self.trees.iter().any(|one| one.hash == tree && one.is_receiving())
    }

    /// The tops of those that have something in common with a path, and whether it is in one of them.
    pub(super) fn about(&self, path: &RelPath) -> (Vec<RelPath>, bool) {
        let tops: Vec<RelPath> = self.trees.iter().map(|one| one.path.clone()).collect();
        let is_in = tops.iter().any(|top| path.is_under(top));
        (tops.into_iter().filter(|top| top.is_under(path)).collect(), is_in)
    }

    /// The trees that something is in; `below`: and those that are in it.
    pub(super) fn trees_of(&self, path: &RelPath, below: bool) -> Vec<TreeNo> {
        let is_in = |one: &&Equal| path.is_under(&one.path) || (below && one.path.is_under(path));
        self.trees.iter().filter(is_in).map(|one| one.tree).collect()
    }

    /// How they stand, for `mirror`.
    pub(super) fn rows(&self, now: Time, members: &Members) -> Vec<MirrorRow> {
        let row = |(at, one): (usize, &Equal)| {
            let state = self.state(at)?;
            let peer = |member: &Member| {
                let standing = member.mirrors.iter().find(|standing| standing.tree == one.hash)?;
                let since = one.dialogue.as_ref().map(|dialogue| dialogue.apart(member.node));
                // Before the first look at the tree, nobody knows since when.
                let since = since.unwrap_or((standing.hash != state.hash).then_some(now));
                Some(PeerRow {
                    host: member.name.to_string(),
                    apart: since.map(|since| now.since(since)),
                    settled: standing.settled && !standing.looks,
                    held: standing.held,
                    stopped: standing.stopped,
                    lacks: standing.lacks,
                })
            };
            let failed =
                state.failed.as_ref().map(|(path, why)| (reply::shown(path), why.to_string()));
            Some(MirrorRow {
                path: reply::shown(&one.path),
                settled: one.dialogue.as_ref().is_some_and(Dialogue::settled),
                stopped: state.stopped.clone(),
                away: state.away.iter().map(|(at, why)| (reply::shown(at), why.clone())).collect(),
                entries: state.entries,
                conflicts: state.conflicts,
                listed: state.listed,
                held: state.held,
                held_here: state.gone,
                lacking: state.lacking,
                indexes: state.known.len() as u64,
                failed,
                peers: members.members().filter_map(peer).collect(),
            })
        };
        self.trees.iter().enumerate().filter_map(row).collect()
    }

    /// The host whose index this is, as far as it is there.
    pub(super) fn host_of(
        &self,
        tree: TreeNo,
        by: IndexId,
        own: &HostName,
        members: &Members,
    ) -> Option<String> {
        let at = self.of_tree(tree)?;
        let hash = self.trees[at].hash;
        let is_it = |member: &&Member| {
            member.mirrors.iter().any(|standing| standing.tree == hash && standing.by == by)
        };
        match self.state(at)?.id == by {
            true => Some(own.to_string()),
            false => members.members().find(is_it).map(|member| member.name.to_string()),
        }
    }

    /// When something is to be done.
    pub(super) fn next(&self, now: Time) -> Option<Time> {
        let due = |(at, one): (usize, &Equal)| {
            let begins = (one.sending.is_none() && one.may_begin()).then_some(one.due);
            let state = self.state(at)?;
            let says = one.dialogue.as_ref().and_then(|talk| talk.poll_timeout(now, &own(&state)));
            let back = state.is_held().then_some(one.next_back);
            begins.into_iter().chain(says).chain(back).chain(one.waits).min()
        };
        let reaches = self.reaches.iter().map(|reach| reach.due);
        self.trees.iter().enumerate().filter_map(due).chain(reaches).min()
    }
}

/// How this host stands with a tree, for the talk about it.
pub(super) fn own(state: &State) -> Own<'_> {
    Own {
        by: state.id,
        height: state.height,
        knowledge: &state.known,
        hash: state.hash,
        needed: &state.needed,
        in_part: state.in_part,
        wall: clock::wall_millis(),
    }
}

impl Equal {
    /// What is said of it to others.
    pub(super) fn standing(&self, state: &State) -> Standing {
        Standing {
            tree: self.hash,
            by: state.id,
            height: state.height,
            hash: state.hash,
            settled: self.dialogue.as_ref().is_some_and(Dialogue::settled),
            held: state.held > 0,
            looks: !self.is_ready,
            stopped: state.stopped.is_some(),
            lacks: state.left.lacking > 0,
            in_part: state.in_part || self.is_receiving(),
        }
    }

    fn is_receiving(&self) -> bool {
        self.dialogue.as_ref().is_some_and(Dialogue::is_receiving)
    }

    /// Whether this host's files are the origin: nobody knows anything of the tree, and it was started so.
    pub(super) fn is_origin(&self, state: &State) -> bool {
        let settled = self.dialogue.as_ref().is_some_and(Dialogue::settled);
        self.first && settled && state.listed > 0 && state.known.is_empty()
    }

    /// Whether something is to be sent, and may be: who has just started receives first.
    pub(super) fn may_begin(&self) -> bool {
        let settled = self.dialogue.as_ref().is_some_and(Dialogue::settled);
        self.queue.front().is_some_and(|next| settled || next.to.is_some())
    }

    /// All that was changed here and was not sent yet. None if there is nothing.
    pub(super) fn news(&mut self, state: &State) -> Option<Next> {
        if self.sent.0 != state.id {
            self.sent = (state.id, 0);
        }
        if state.height <= self.sent.1 {
            return None;
        }
        let mut from = Knowledge::default();
        for (id, seq) in state.known.iter() {
            from.learn(id, if id == state.id { self.sent.1 } else { seq });
        }
        self.sent.1 = state.height;
        Some(self.delta(state, from, Vec::new(), None))
    }

    pub(super) fn delta(
        &self,
        state: &State,
        from: Knowledge,
        needed: Vec<crate::wire::versions::Dot>,
        to: Option<Vec<NodeId>>,
    ) -> Next {
        let full = !from.is_at_least(&state.floor);
        let setup = MirrorSetup {
            from,
            to: Knowledge::clone(&state.known),
            floor: Knowledge::clone(&state.floor),
            full,
            by: state.id,
        };
        let delta = Delta { setup, needed };
        let order = Arc::new(Order::mirror(self.path.clone(), delta.clone()));
        Next { order, delta: Arc::new(delta), to }
    }

    pub(super) fn command(&self) -> String {
        format!("mirror {}", reply::shown(&self.path))
    }
}
