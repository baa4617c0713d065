//! What becomes of a HELLO: of a member, and of a node that is none.

use super::challenge::Peer;
use super::clock::Clock;
use super::types::{DepartureReason, Event, Member};
use super::{MAX_MEMBERS, Members, spread};
use crate::time::Time;
use crate::wire::hello::Hello;

impl Members {
    pub(super) fn member_hello(&mut self, now: Time, peer: Peer, counter: u64, hello: &Hello) {
        let Some(entry) = self.roster.get_mut(peer.node) else { return };
        if peer.addr != entry.member.addr {
            self.counts.elsewhere += 1;
            return;
        }
        let authentic = self.config.authentic;
        let clock = Clock::of(hello, self.clock.1);
        let echoes = hello.echo.is_some_and(|echo| self.challenges.is_valid(now, peer, &echo));
        // Without a key, a counter far ahead may have been forged: then the member's own is lower.
        if counter <= entry.counter && (authentic || !echoes) {
            self.counts.replayed += 1;
            // The same again is nothing but a packet that the network has doubled.
            if !authentic && counter < entry.counter {
                self.ask(now, peer);
            }
            return;
        }
        self.counts.members += 1;
        entry.counter = counter;
        // Also what may be forged: it is never far ahead, and which of two was later must be known.
        if hello.height > self.clock.0 {
            self.events.push_back(Event::Height(hello.height));
        }
        let member = &mut entry.member;
        member.heard = member.heard.max(now);
        member.say(&hello.mirrors);
        let known = (member.mtu, member.rcvbuf, member.receives);
        let ticks_anew = member.clock.has_news(&clock);
        let is_new = known != (hello.mtu, hello.rcvbuf, hello.receives) || ticks_anew;
        let is_believed = authentic || echoes;
        if !ticks_anew {
            member.clock.drift(&clock);
        }
        if is_new && is_believed || member.oldest_open != hello.oldest_open {
            if is_believed {
                (member.mtu, member.rcvbuf, member.receives) =
                    (hello.mtu, hello.rcvbuf, hello.receives);
                if ticks_anew {
                    member.clock = clock;
                    self.has_odd_news = true;
                }
            }
            member.oldest_open = hello.oldest_open;
            self.events.push_back(Event::Changed(member.clone()));
        }
        if echoes {
            self.doubts.refute(now, peer.node);
            self.has_odd_news |= self.is_of_two(peer.node);
            self.strangers.remove(peer);
        } else if is_new && !is_believed {
            self.ask(now, peer);
        }
        if hello.asks {
            self.answer_member(now, peer.node, hello.challenge);
        }
    }

    /// Asks a member whether what was said in its name is so. False: it cannot be asked now.
    pub(super) fn ask(&mut self, now: Time, member: Peer) -> bool {
        let due = now + self.jitter(spread(self.len()));
        let asked = self.strangers.add(member, None, due);
        self.counts.limited += u64::from(!asked);
        self.send_due_answers(now);
        asked
    }

    pub(super) fn stranger_hello(&mut self, now: Time, peer: Peer, counter: u64, hello: &Hello) {
        self.counts.strangers += 1;
        if self.departed.has_used(now, peer.node, counter) {
            self.counts.replayed += 1;
            return;
        }
        if self.len() >= MAX_MEMBERS && self.roster.at(peer.addr).is_none() {
            self.counts.full += 1;
            return;
        }
        match &hello.echo {
            Some(echo) if self.challenges.is_valid(now, peer, echo) => {
                self.admit(now, peer, counter, hello);
                if hello.asks {
                    self.answer_member(now, peer.node, hello.challenge);
                }
                return;
            }
            Some(_) => self.counts.bad_echo += 1,
            None => {}
        }
        // Only a HELLO without a challenge was sent to all: then all answer, and not all at once.
        let due = match hello.challenge {
            Some(_) => now,
            None => now + self.jitter(spread(self.len())),
        };
        if !self.strangers.add(peer, hello.challenge, due) {
            self.counts.limited += 1;
        }
        self.send_due_answers(now);
    }

    fn admit(&mut self, now: Time, peer: Peer, counter: u64, hello: &Hello) {
        self.strangers.remove(peer);
        if let Some(old) = self.roster.at(peer.addr) {
            self.remove(now, old, DepartureReason::Replaced { by: peer.node });
        }
        let member = Member {
            node: peer.node,
            name: hello.name.clone(),
            addr: peer.addr,
            version: hello.version.clone(),
            mtu: hello.mtu,
            rcvbuf: hello.rcvbuf,
            receives: hello.receives,
            joined: now,
            heard: now,
            oldest_open: hello.oldest_open,
            clock: Clock::of(hello, self.clock.1),
            mirrors: hello.mirrors.clone(),
        };
        self.events.push_back(Event::Joined(member.clone()));
        if hello.height > self.clock.0 {
            self.events.push_back(Event::Height(hello.height));
        }
        self.roster.add(member.clone(), counter, self.config.silence);
        // A host that has another address now may have had no chance to say BYE.
        for namesake in self.roster.namesakes(&member) {
            self.doubt(now, namesake, Some(member.addr));
        }
        self.has_odd_news |= !self.records_possible(member.node);
    }
}
