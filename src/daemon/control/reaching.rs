//! Whether all hosts that mirror a tree have what is here: what a flush asks them, and what this host answers.
//!
//! What was changed here was looked at and sent before anybody is asked. Who then still lacks something may be getting it,
//! by asking for it: it is asked again, until nothing happens there any more.

use std::collections::{BTreeMap, BTreeSet};

use super::control_loop::Control;
use super::reach::{Host, Reach, parts};
use crate::console::error::{Code, ErrorLine};
use crate::console::reply;
use crate::count::counted;
use crate::engine::catch_up::To;
use crate::keeping::mirrors::State;
use crate::name::{HostName, NodeId, RelPath};
use crate::time::{Span, Time};
use crate::wire::header::block_for_mtu;
use crate::wire::mirror::{Left, MAX_WITHIN, Mirror, Reached, Standing};
use crate::wire::versions::Knowledge;

/// When it is asked again: soon, then later and later.
const AGAIN: (Span, Span) = (Span::from_millis(10), Span::from_millis(250));
/// So long files that have changed are waited for until they are read: some are never quiet.
const READS: Span = Span::from_secs(30);
/// So many are asked at once.
const AT_ONCE: usize = 64;
/// The bytes of a question beside the path and the knowledge.
const BESIDE: usize = 1 + 8 + 4 + 2 + 1 + 2;

impl Control {
    /// What was changed in a mirror was looked at, and sent to those who are there: do they have it?
    pub(super) fn reach(&mut self, now: Time, at: usize, cookie: u64) {
        let (one, path) = (&self.equals.trees[at], self.watches.waiting.path(cookie));
        let Some(path) = path else { return };
        let within = path.below(&one.path).filter(|within| within.len() <= MAX_WITHIN);
        let within = within.and_then(|within| RelPath::parse(within).ok());
        let within = within.unwrap_or_else(RelPath::base);
        let top = if path.is_under(&one.path) { path } else { &one.path };
        self.equals.reaches.push(Reach {
            watch: one.watch,
            cookie,
            tree: one.hash,
            within,
            shown: reply::shown(top),
            parts: Vec::new(),
            hosts: BTreeMap::new(),
            errors: Vec::new(),
            number: self.rng.next_u64() as u32,
            wait: AGAIN.0,
            begun: now,
            due: now,
        });
    }

    /// Asks whom it is time to ask, and answers those whose question has come to an end.
    pub(super) fn drive_reaches(&mut self, now: Time) {
        let mut reaches = std::mem::take(&mut self.equals.reaches);
        reaches.retain_mut(|reach| {
            if self.watches.waiting.path(reach.cookie).is_none() {
                return false;
            }
            if reach.due <= now {
                self.reach_on(now, reach);
            }
            let is_over = !reach.parts.is_empty() && reach.hosts.is_empty();
            if is_over {
                let errors = std::mem::take(&mut reach.errors);
                self.watches.reached(reach.watch, reach.cookie, None, errors);
            }
            !is_over
        });
        self.equals.reaches = reaches;
        self.answer_reached();
    }

    fn reach_on(&mut self, now: Time, reach: &mut Reach) {
        if !self.membership.members.settled(now) {
            reach.due = self.membership.members.settles();
            return;
        }
        let me = self.shared.me();
        let Some(at) = self.equals.of_watch(reach.watch) else { return };
        let Some(state) = self.equals.state(at) else { return };
        if reach.parts.is_empty() {
            // What has changed and was not read yet is not known of.
            let unread = self.left(at, &reach.within).map_or(1, |(_, reading)| reading);
            if unread > 0 && now < reach.begun + READS {
                reach.due = now + AGAIN.1;
                return;
            }
            if unread > 0 {
                let why = format!("{} still to be read", counted(unread, "file"));
                reach.errors.push(ErrorLine::here(&reach.shown, Code::Changed, why));
            }
            let room = usize::from(block_for_mtu(self.shared.net.mtu()));
            let room = room.saturating_sub(BESIDE + reach.within.as_bytes().len());
            reach.parts = parts(&state.known, room);
            let left: BTreeSet<u16> = (0..reach.parts.len() as u16).collect();
            let host = |name: &HostName, left: BTreeSet<u16>| Host {
                name: name.clone(),
                left,
                asked: reach.number,
                answered: reach.number,
                said: None,
                since: now,
            };
            let mirrors =
                self.membership.members.members().filter(|member| {
                    member.mirrors.iter().any(|standing| standing.tree == reach.tree)
                });
            reach.hosts = mirrors.map(|one| (one.node, host(&one.name, left.clone()))).collect();
            reach.hosts.insert(me, host(&self.settings.name, BTreeSet::new()));
        }
        if let Some(own) = reach.hosts.get_mut(&me) {
            own.heard(now, self.stands(at, &state, &reach.within, &Knowledge::default()));
        }
        let is_sending =
            self.equals.trees[at].sending.is_some() || !self.equals.trees[at].queue.is_empty();
        let Reach { hosts, errors, shown, .. } = reach;
        hosts.retain(|node, host| {
            if is_sending && host.said.is_some() {
                host.since = now;
            }
            let Some(verdict) = host.verdict(now) else { return true };
            if let Err((code, why)) = verdict {
                errors.push(match *node == me {
                    true => ErrorLine::here(&*shown, code, why),
                    false => ErrorLine::told(&host.name, shown, &code.to_string(), &why),
                });
            }
            false
        });
        self.ask_to_reach(now, reach, me);
    }

    fn ask_to_reach(&mut self, now: Time, reach: &mut Reach, me: NodeId) {
        reach.number = reach.number.wrapping_add(1);
        let mut all: Vec<(&NodeId, &mut Host)> = reach.hosts.iter_mut().collect();
        all.retain(|(node, _)| **node != me);
        all.sort_by_key(|(_, host)| reach.number.wrapping_sub(host.asked));
        let rest = all.len().saturating_sub(AT_ONCE);
        for (node, host) in all.into_iter().rev().take(AT_ONCE) {
            host.asked = reach.number;
            // What it has not is asked for once more, whatever it knows.
            let first = host.left.first().copied().unwrap_or(0);
            for part in host.left.iter().copied().chain(host.left.is_empty().then_some(first)) {
                let known = reach.parts.get(usize::from(part)).cloned().unwrap_or_default();
                let (tree, number, within) = (reach.tree, reach.number, reach.within.clone());
                let said = Mirror::Reach { tree, number, part, within, known };
                self.membership.say_mirror(To::Node(*node), &said);
            }
        }
        reach.due = now + if rest > 0 { AGAIN.0 } else { reach.wait };
        reach.wait = (reach.wait * 2).at_most(AGAIN.1);
    }

    fn left(&self, at: usize, within: &RelPath) -> Option<(Left, u64)> {
        self.equals.mirrors.as_ref()?.left(self.equals.trees[at].tree, within)
    }

    /// How this host stands with what is asked about.
    fn stands(
        &self,
        at: usize,
        state: &State,
        within: &RelPath,
        known: &Knowledge,
    ) -> (Standing, Reached) {
        let one = &self.equals.trees[at];
        let left = self.left(at, within).map(|(left, _)| left);
        let talks = one.dialogue.as_ref().is_some_and(|dialogue| dialogue.is_busy());
        let reached = Reached {
            covers: left.is_some() && state.known.is_at_least(known) && !state.lists,
            busy: left.is_none() || talks || one.looking > 0,
            left: left.unwrap_or_default(),
        };
        (one.standing(state), reached)
    }

    /// A member asks whether this host has all that it has.
    pub(super) fn asked_to_reach(
        &mut self,
        now: Time,
        at: usize,
        node: NodeId,
        (number, part): (u32, u16),
        within: &RelPath,
        known: &Knowledge,
    ) {
        let Some(state) = self.equals.state(at) else { return };
        let (standing, reached) = self.stands(at, &state, within, known);
        let said = Mirror::Reached { number, part, standing, reached };
        self.membership.say_mirror(To::Node(node), &said);
        if !state.known.is_at_least(known) {
            self.mirror_talk(at, |dialogue, own| dialogue.is_ahead(now, node, own));
        }
    }

    /// A member says how it stands with what it was asked about.
    pub(super) fn reach_answered(
        &mut self,
        now: Time,
        node: NodeId,
        (number, part): (u32, u16),
        standing: Standing,
        reached: Reached,
    ) {
        for reach in self.equals.reaches.iter_mut().filter(|one| one.tree == standing.tree) {
            let Some(host) = reach.hosts.get_mut(&node) else { continue };
            // What comes late says nothing of now.
            let since = |number: u32| number.wrapping_sub(host.answered);
            if since(number) > since(host.asked) {
                continue;
            }
            host.answered = number;
            if reached.covers && host.left.remove(&part) {
                host.since = now;
            }
            host.heard(now, (standing, reached));
            if let Some(Ok(())) = host.verdict(now) {
                reach.hosts.remove(&node);
            }
        }
    }

    /// Members have left: nobody knows what they have.
    pub(super) fn reach_gone(&mut self, left: &[NodeId]) {
        for reach in &mut self.equals.reaches {
            for host in left.iter().filter_map(|node| reach.hosts.remove(node)) {
                let code = Code::Left.to_string();
                reach.errors.push(ErrorLine::told(&host.name, &reach.shown, &code, "member exit"));
            }
        }
    }
}
