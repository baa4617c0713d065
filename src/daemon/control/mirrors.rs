//! The trees that this host mirrors: what was changed in them is sent, and who lacks something gets it.
//!
//! The watcher says what may have changed, as of a watch. The looker gives it dots. What is new then, and what others ask
//! for, are transfers, one of a tree at a time, whose client is the watch.

use std::collections::VecDeque;
use std::sync::Arc;

use super::control_loop::Control;
use super::equals::{Equal, Next, own};
use super::lacking::Lacking;
use super::vouching::WAITS;
use super::watches::client_of;
use crate::console::command::Watch;
use crate::console::reply::{self, Total};
use crate::daemon::again::Results;
use crate::daemon::caller::Caller;
use crate::daemon::clock;
use crate::daemon::looker::Looker;
use crate::daemon::messages::{Holder, MirrorWork, ToDisk};
use crate::daemon::sending::mirrored::MirrorLaunch;
use crate::daemon::unread::Unread;
use crate::engine::members::Member;
use crate::ids::TransferNo;
use crate::keeping::mirrors::{Asked, Look, Looking, Seen, TreeNo};
use crate::log;
use crate::mirror::dialogue::{self, Dialogue, Own, Serve};
use crate::mirror::roster::Roster;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::watch::types::{Flush, Now, WatchNo, Went, Why};
use crate::wire::header::block_for_mtu;
use crate::wire::mirror::{Mirror, Standing};
use crate::wire::names::Hash;
use crate::wire::setup::MirrorSetup;
use crate::wire::versions::IndexId;

/// How often it is looked whether what is held is there again.
const BACK: Span = Span::from_secs(5);

/// How a member stands with a tree that it gives and takes changes of.
fn takes_part(member: &Member, tree: Hash) -> Option<Standing> {
    let standing = member.mirrors.iter().find(|standing| standing.tree == tree);
    standing.filter(|standing| standing.takes_part()).copied()
}

impl Control {
    /// The trees that the daemon was started with.
    pub(super) fn mirror_from_start(&mut self) {
        let Some(mirrors) = self.equals.mirrors.clone() else { return };
        match Looker::start(&self.shared, Arc::clone(&mirrors)) {
            Ok(looker) => self.equals.looker = Some(looker),
            Err(error) => return log::error(format_args!("mirror: no thread: {error}")),
        }
        let (delay, patterns, first) = self.settings.mirroring.clone();
        for (tree, path) in mirrors.paths() {
            let what = Watch { path: path.clone(), delete: true, delay, targets: Vec::new() };
            let caller = Caller::this_daemon();
            match self.begin_watch(what, &patterns, caller, None, Unread::default()) {
                Err(error) => {
                    log::error(format_args!("mirror {}: {}", reply::shown(path), error.text()));
                }
                Ok(watch) => {
                    let watched = self.watches.get_mut(watch);
                    let patterns = watched.map(|one| Arc::clone(&one.patterns)).unwrap_or_default();
                    let id = mirrors.state(tree).map_or(IndexId(0), |state| state.id);
                    self.equals.trees.push(Equal {
                        tree,
                        path: path.clone(),
                        hash: Hash::of_path(path),
                        watch,
                        patterns,
                        first,
                        is_ready: false,
                        looking: 0,
                        whole: false,
                        flush: false,
                        sent: (id, 0),
                        queue: VecDeque::new(),
                        sending: None,
                        due: Time::ZERO,
                        next_back: Time::ZERO,
                        dialogue: None,
                        roster: Roster::default(),
                        is_vouched: false,
                        waits: Some(clock::now() + WAITS),
                    });
                }
            }
        }
        // That they are mirrored here, though nothing of them may be asked for yet.
        self.tell_standings();
    }

    /// The watcher tells what may have changed. False if that is no mirror's.
    pub(super) fn mirror_flush(&mut self, now: Time, watch: WatchNo, flush: &Flush) -> bool {
        let Some(at) = self.equals.of_watch(watch) else { return false };
        if self.mirror_waits(at, now) {
            self.equals.trees[at].flush = true;
            return true;
        }
        let Ok(root) = self.shared.base.look() else {
            self.watches.done(watch, Went::NotSent, None);
            return true;
        };
        let one = &mut self.equals.trees[at];
        let patterns = Arc::clone(&one.patterns);
        let (deletes, paths) = match flush {
            // What a mount that is missing had is held by itself.
            Flush::Tree { deletes, why } => {
                (*deletes || matches!(why, Why::Mounts | Why::Replaced), None)
            }
            Flush::Paths(paths) => {
                let look = |changed: &crate::watch::types::Changed| Look {
                    path: changed.path.clone(),
                    whole: changed.now == Now::Whole,
                };
                (true, Some(paths.iter().map(look).collect()))
            }
        };
        // The first look at everything finds what was deleted while the daemon was away.
        let deletes = deletes || !one.is_ready;
        (one.looking, one.flush) = (one.looking + 1, true);
        one.whole = paths.is_none();
        let how = Looking { root, patterns, deletes };
        if let Some(looker) = &self.equals.looker {
            looker.look(one.tree, how, paths);
        }
        true
    }

    pub(super) fn mirror_look_at_all(&mut self, at: usize, deletes: bool) {
        let Ok(root) = self.shared.base.look() else { return };
        let one = &mut self.equals.trees[at];
        (one.looking, one.whole) = (one.looking + 1, true);
        let deletes = deletes || !one.is_ready;
        let how = Looking { root, patterns: Arc::clone(&one.patterns), deletes };
        if let Some(looker) = &self.equals.looker {
            looker.look(one.tree, how, None);
        }
    }

    fn mirror_look_whether_back(&self, at: usize) {
        let Ok(root) = self.shared.base.look() else { return };
        let one = &self.equals.trees[at];
        let how = Looking { root, patterns: Arc::clone(&one.patterns), deletes: false };
        if let Some(looker) = &self.equals.looker {
            looker.look_whether_back(one.tree, how);
        }
    }

    /// Something that was held is there again.
    pub(super) fn mirror_back(&mut self, tree: TreeNo) {
        if let Some(at) = self.equals.of_tree(tree) {
            self.mirror_look_at_all(at, true);
        }
    }

    /// What the watcher has told was looked at.
    pub(super) fn mirror_looked(&mut self, now: Time, tree: TreeNo, seen: Result<Seen, String>) {
        let Some(at) = self.equals.of_tree(tree) else { return };
        let one = &mut self.equals.trees[at];
        one.looking = one.looking.saturating_sub(1);
        let shown = reply::shown(&one.path);
        match seen {
            Err(why) => {
                one.flush = false;
                let (watch, tree) = (one.watch, one.tree);
                let state = self.equals.of_tree(tree).and_then(|at| self.equals.state(at));
                // That it stands still is said by itself.
                let is_news = state.is_none_or(|state| state.stopped.is_none());
                if is_news {
                    log::error(format_args!("mirror {shown}: {why}"));
                }
                let lacking = is_news.then_some(Lacking::Here(why));
                self.watches.done(watch, Went::NotSent, lacking);
                return;
            }
            Ok(Seen { changed, failed, later: _ }) => {
                log::debug(format_args!(
                    "mirror {shown}: {changed} changes, {failed} not readable"
                ));
                one.is_ready = true;
            }
        }
        let Some(state) = self.equals.state(at) else { return };
        let seed = self.rng.next_u64();
        let room = usize::from(block_for_mtu(self.shared.net.mtu()));
        let one = &mut self.equals.trees[at];
        if one.dialogue.is_none() {
            let config = dialogue::Config { tree: one.hash, room, seed, gives: true };
            let mut dialogue = Dialogue::new(now, config, &own(&state));
            for member in self.membership.members.members() {
                let standing = takes_part(member, one.hash);
                if standing.is_some() {
                    dialogue.hello(now, member.node, standing, &own(&state));
                }
            }
            one.dialogue = Some(dialogue);
        } else if let Some(dialogue) = &mut one.dialogue {
            dialogue.changed(now, &own(&state));
        }
        if state.open > state.lacking {
            self.shared.to_disk(ToDisk::Mirror(tree, None, MirrorWork::Settle));
        }
        let was_whole = std::mem::take(&mut one.whole);
        if let Some(next) = one.news(&state) {
            one.queue.push_back(next);
            one.due = now;
        }
        if was_whole {
            let known = self.mirror_known_to_all(at, &state.known);
            self.shared.to_disk(ToDisk::Mirror(tree, None, MirrorWork::Bury(known)));
        }
        self.mirror_idle(at);
        self.tell_standings();
    }

    /// How a tree stands has changed.
    pub(super) fn mirror_changed(&mut self, now: Time, tree: TreeNo) {
        let Some(at) = self.equals.of_tree(tree) else { return };
        let Some(state) = self.equals.state(at) else { return };
        if state.lists && self.equals.trees[at].looking == 0 {
            // It goes on with another directory.
            self.mirror_look_at_all(at, false);
        }
        let one = &mut self.equals.trees[at];
        if let Some(dialogue) = &mut one.dialogue {
            dialogue.changed(now, &own(&state));
        }
        // What was noticed when something was placed.
        if let Some(next) = if one.is_ready { one.news(&state) } else { None } {
            one.queue.push_back(next);
            one.due = now;
        }
        self.tell_standings();
    }

    pub(super) fn tell_standings(&mut self) {
        let standings = self.equals.standings();
        // That parts of something are there while it comes in is nobody's concern.
        let in_part = |one: &Standing| one.in_part && !self.equals.is_receiving(one.tree);
        let gist = |one| Standing { height: 0, hash: 0, in_part: in_part(one), ..*one };
        let gist: Vec<Standing> = standings.iter().map(gist).collect();
        self.membership.members.set_mirrors(standings);
        if self.equals.told != gist {
            // Others wait for this.
            self.equals.told = gist;
            self.membership.members.say_hello();
        }
    }

    /// Begins what is due.
    pub(super) fn start_mirrors(&mut self, now: Time) {
        for at in 0..self.equals.trees.len() {
            let one = &mut self.equals.trees[at];
            if one.sending.is_some() || one.due > now || !one.may_begin() {
                continue;
            }
            let Some(next) = one.queue.pop_front() else { continue };
            self.start_mirror(now, at, next);
        }
    }

    fn start_mirror(&mut self, now: Time, at: usize, next: Next) {
        let one = &self.equals.trees[at];
        let hash = one.hash;
        let is_target = |member: &&Member| {
            member.receives
                && takes_part(member, hash).is_some()
                && self.equals.silent.get(&member.node).is_none_or(|at| member.heard > *at)
                && next.to.as_ref().is_none_or(|to| to.contains(&member.node))
        };
        let targets: Vec<Member> =
            self.membership.members.members().filter(is_target).cloned().collect();
        if targets.is_empty() {
            // Who comes later asks.
            if next.to.is_some() {
                self.mirror_talk(at, |dialogue, own| dialogue.served(now, false, own));
            }
            return self.mirror_idle(at);
        }
        let launch = MirrorLaunch {
            number: self.next_number,
            oldest: self.oldest_open(),
            tree: one.tree,
            delta: Arc::clone(&next.delta),
            order: Arc::clone(&next.order),
            targets,
            client: client_of(one.watch),
            command: one.command(),
            parallel: self.settings.parallel,
            timeout: self.settings.timeout,
        };
        match launch.start(&self.shared, now) {
            Ok(()) => {
                let number = self.next_number;
                self.next_number = number.next();
                self.equals.trees[at].sending = Some((number, next));
            }
            Err(why) => {
                log::error(format_args!("{}: {why}", self.equals.trees[at].command()));
                self.mirror_idle(at);
            }
        }
    }

    /// A transfer of a mirror is over. False if it is none.
    pub(super) fn mirror_over(
        &mut self,
        now: Time,
        watch: WatchNo,
        number: TransferNo,
        results: &Results,
    ) -> bool {
        let Some(at) = self.equals.of_watch(watch) else { return false };
        let one = &mut self.equals.trees[at];
        let Some((_, next)) = one.sending.take_if(|(known, _)| *known == number) else {
            return true;
        };
        let (_, Total { failed, .. }) = results;
        if *failed > 0 {
            log::info(format_args!("{}: not on {failed} hosts yet", one.command()));
        }
        let asked = next.to.is_some();
        self.mirror_idle(at);
        if asked {
            self.mirror_talk(at, |dialogue, own| dialogue.served(now, false, own));
        }
        true
    }

    /// Another host's transfer holds the tree. False if it is no mirror.
    pub(super) fn mirror_held(
        &mut self,
        now: Time,
        watch: WatchNo,
        number: TransferNo,
        _by: &Holder,
    ) -> bool {
        let Some(at) = self.equals.of_watch(watch) else { return false };
        let wait = Span::from_millis(20 + self.rng.below(80));
        let one = &mut self.equals.trees[at];
        if let Some((_, next)) = one.sending.take_if(|(known, _)| *known == number) {
            one.queue.push_front(next);
            one.due = now + wait;
        }
        true
    }

    /// If nothing of a tree is under way any more, the watcher goes on.
    fn mirror_idle(&mut self, at: usize) {
        let one = &mut self.equals.trees[at];
        if one.flush && one.looking == 0 && one.sending.is_none() && one.queue.is_empty() {
            one.flush = false;
            let watch = one.watch;
            self.watches.done(watch, Went::Sent { again: Vec::new() }, None);
        }
    }

    /// Does something in the talk about a tree.
    pub(super) fn mirror_talk(&mut self, at: usize, talk: impl FnOnce(&mut Dialogue, &Own<'_>)) {
        let Some(state) = self.equals.state(at) else { return };
        if let Some(dialogue) = &mut self.equals.trees[at].dialogue {
            talk(dialogue, &own(&state));
        }
    }

    /// A member has said how it stands with what is mirrored.
    pub(super) fn mirror_hello(&mut self, now: Time, node: NodeId) {
        for at in 0..self.equals.trees.len() {
            let Some(member) = self.membership.members.get(node) else { return };
            let hash = self.equals.trees[at].hash;
            let standing = takes_part(member, hash);
            self.mirror_heard(at, node);
            self.mirror_talk(at, |dialogue, own| dialogue.hello(now, node, standing, own));
        }
    }

    /// Members have left.
    pub(super) fn mirror_gone(&mut self, now: Time, left: &[NodeId]) {
        self.reach_gone(left);
        self.equals.silent.retain(|node, _| !left.contains(node));
        for at in 0..self.equals.trees.len() {
            for node in left {
                self.mirror_talk(at, |dialogue, own| dialogue.gone(now, *node, own));
            }
        }
    }

    /// A member says something of a mirrored tree.
    pub(super) fn mirror_said(&mut self, now: Time, node: NodeId, said: Mirror) {
        let me = self.shared.me();
        let Some(at) = self.equals.trees.iter().position(|one| one.hash == said.tree()) else {
            return;
        };
        match said {
            Mirror::Reach { number, part, within, known, .. } => {
                self.asked_to_reach(now, at, node, (number, part), &within, &known);
            }
            Mirror::Reached { number, part, standing, reached } => {
                self.membership.members.stands(node, standing);
                self.mirror_hello(now, node);
                self.reach_answered(now, node, (number, part), standing, reached);
            }
            said => self.mirror_talk(at, |dialogue, own| dialogue.packet(now, me, node, said, own)),
        }
    }

    /// A transfer of a mirror begins to come from a member.
    pub(super) fn mirror_begun(
        &mut self,
        now: Time,
        tree: TreeNo,
        node: NodeId,
        setup: &MirrorSetup,
    ) {
        let Some(at) = self.equals.of_tree(tree) else { return };
        self.mirror_talk(at, |dialogue, own| {
            let _ = dialogue.begun(now, node, (&setup.from, &setup.to), own);
        });
        // Before any of it is here, it is said that there may be parts.
        self.tell_standings();
    }

    /// It is over.
    pub(super) fn mirror_ended(&mut self, now: Time, tree: TreeNo, node: NodeId, is_taken: bool) {
        let Some(at) = self.equals.of_tree(tree) else { return };
        self.mirror_talk(at, |dialogue, own| dialogue.ended(now, node, is_taken, own));
        self.tell_standings();
    }

    /// Does what is due in the talk about what is mirrored.
    pub(super) fn drive_mirrors(&mut self, now: Time) {
        for at in 0..self.equals.trees.len() {
            self.mirror_waited(at, now);
            let Some(state) = self.equals.state(at) else { continue };
            let one = &mut self.equals.trees[at];
            let command = one.command();
            if one.is_origin(&state) {
                one.first = false;
                let asked = MirrorWork::Ask(Asked::Adopt(one.path.clone()));
                self.shared.to_disk(ToDisk::Mirror(one.tree, None, asked));
            }
            if state.is_held() && one.next_back <= now {
                one.next_back = now + BACK;
                self.mirror_look_whether_back(at);
            }
            let one = &mut self.equals.trees[at];
            let Some(dialogue) = &mut one.dialogue else { continue };
            let was_settled = dialogue.settled();
            // When it may be settled is no deadline any more once that has come.
            let due = dialogue.poll_timeout(now, &own(&state));
            if !was_settled || due.is_some_and(|due| due <= now) {
                dialogue.timeout(now, &own(&state));
            }
            if dialogue.take_doubt() {
                log::warning(format_args!(
                    "{command}: others know of changes from here that this host does not: it goes on under another id"
                ));
                self.shared.to_disk(ToDisk::Mirror(one.tree, None, MirrorWork::Renew));
            }
            while let Some((to, said)) = dialogue.poll_transmit() {
                self.membership.say_mirror(to, &said);
            }
            if let Some(Serve { from, nodes, needed }) = dialogue.poll_serve() {
                let next = one.delta(&state, from, needed, Some(nodes));
                let one = &mut self.equals.trees[at];
                // What was changed here waits until others have answered, who may wait for this.
                let settled = one.dialogue.as_ref().is_some_and(Dialogue::settled);
                one.queue.insert(if settled { one.queue.len() } else { 0 }, next);
                one.due = one.due.max(now);
            }
            let one = &self.equals.trees[at];
            if one.dialogue.as_ref().is_some_and(Dialogue::settled) != was_settled {
                self.tell_standings();
            }
        }
    }
}
