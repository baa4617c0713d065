//! Answers to nodes that are no members: which one is sent when, within the limits on them.

use super::challenge::Peer;
use super::limit::{AnswerLimit, Rate, SourceLimits};
use super::waiting::{Answer, Waiting};
use crate::engine::rng::Rng;
use crate::time::{Span, Time};
use crate::wire::hello::Challenge;

/// How often a stranger gets the same answer.
pub(super) const ATTEMPTS: u32 = 8;
/// When the first repeat comes; each further one takes twice as long.
const REPEAT: Span = Span::from_millis(60);
/// All answers to strangers together.
const ALL: Rate = Rate::per_second(100, 100);
/// Those to one source address. A handshake under loss takes several within a second.
const SOURCE: Rate = Rate::per_second(8, 1);
/// From so many strangers waiting on, an answer over its source's limit is dropped rather than
/// postponed.
const CROWD: usize = 256;

/// The answers to strangers that wait to be sent.
#[derive(Default)]
pub(super) struct Strangers {
    waiting: Waiting,
    limit: AnswerLimit,
    sources: SourceLimits,
}

impl Strangers {
    /// How many strangers wait for an answer.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Answers `peer` at `due`, or earlier if it gets an answer earlier anyway. False: no room.
    pub fn add(&mut self, peer: Peer, echo: Option<Challenge>, due: Time) -> bool {
        self.waiting.add(peer, echo, due)
    }

    /// `peer` needs no answer any more.
    pub fn remove(&mut self, peer: Peer) {
        self.waiting.remove(peer);
    }

    /// Nobody needs an answer any more.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// When [`Strangers::next`] may have an answer.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.waiting.first_due().map(|due| due.max(self.limit.ready(ALL)))
    }

    /// The next answer to send now. `dropped` counts the first answers that are over a limit and never
    /// sent.
    pub fn next(&mut self, now: Time, dropped: &mut u64) -> Option<(Peer, Answer)> {
        while let Some((peer, answer)) = self.waiting.first(now) {
            if !self.limit.has(now, ALL) {
                return None;
            }
            self.waiting.remove(peer);
            // Repeats must not take what others need for their first answer.
            let repeats = answer.sent > 0;
            let half_full = if repeats { self.limit.half_full(ALL) } else { now };
            let source = *peer.addr.ip();
            let ready = half_full.max(self.sources.ready(source, SOURCE));
            if ready > now && self.waiting.len() < CROWD {
                self.waiting.postpone(peer, answer, ready);
                continue;
            }
            if ready > now || !self.sources.take(now, source, SOURCE) {
                *dropped += u64::from(!repeats);
                continue;
            }
            self.limit.take(now, ALL);
            return Some((peer, answer));
        }
        None
    }

    /// An answer has been sent. It is sent again a few times, `spread` being the time over which the
    /// fleet's answers to one HELLO are spread.
    pub fn sent(&mut self, now: Time, peer: Peer, answer: Answer, spread: Span, rng: &mut Rng) {
        if answer.sent + 1 < ATTEMPTS {
            let pause = REPEAT * (1 << answer.sent) + spread / 4;
            let jitter = Span::from_micros(rng.below((pause / 4).micros()));
            self.waiting.repeat(peer, answer, now + pause + jitter);
        }
    }

    #[cfg(test)]
    pub fn source_count(&self) -> usize {
        self.sources.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NodeId;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn peer(node: u64, source: u32) -> Peer {
        let addr = SocketAddrV4::new(Ipv4Addr::from(source), node as u16);
        Peer { node: NodeId(node), addr }
    }

    fn at(millis: u64) -> Time {
        Time::from_micros(100_000_000 + millis * 1_000)
    }

    fn answered(strangers: &mut Strangers, now: Time) -> Vec<Peer> {
        let mut dropped = 0;
        std::iter::from_fn(|| strangers.next(now, &mut dropped)).map(|(peer, _)| peer).collect()
    }

    #[test]
    fn an_answer_is_repeated_ever_more_rarely_until_it_has_been_sent_often_enough() {
        let (mut strangers, mut rng) = (Strangers::default(), Rng::new(1));
        strangers.add(peer(1, 1), None, at(0));
        let (mut now, mut count, mut pause) = (at(0), 0, Span::ZERO);
        while let Some((peer, answer)) = strangers.next(now, &mut 0) {
            count += 1;
            strangers.sent(now, peer, answer, Span::ZERO, &mut rng);
            let Some(next) = strangers.poll_timeout() else { break };
            assert!(next.since(now) > pause, "{count}");
            pause = next.since(now);
            now = next;
        }
        assert_eq!((count, strangers.len()), (ATTEMPTS, 0));
    }

    #[test]
    fn one_source_does_not_take_the_answers_of_others() {
        let mut strangers = Strangers::default();
        for node in 0..50 {
            strangers.add(peer(node, 7), None, at(0));
        }
        strangers.add(peer(99, 8), None, at(1));
        let now = answered(&mut strangers, at(1));
        assert_eq!(now.len() as u64, SOURCE.burst + 1);
        assert!(now.contains(&peer(99, 8)));
        // The rest is postponed.
        assert_eq!(strangers.len() as u64, 50 - SOURCE.burst);
        assert_eq!(answered(&mut strangers, at(1_001)).len(), 1);
    }

    #[test]
    fn all_answers_together_are_limited_and_in_a_crowd_those_over_their_share_are_dropped() {
        let (mut strangers, mut dropped) = (Strangers::default(), 0);
        for node in 0..200 {
            strangers.add(peer(node, node as u32), None, at(0));
        }
        assert_eq!(answered(&mut strangers, at(0)).len() as u64, ALL.burst);
        assert_eq!(strangers.poll_timeout(), Some(at(10)));
        for node in 1_000..1_500 {
            strangers.add(peer(node, 7), None, at(0));
        }
        // Those of other sources come with the time; of the crowd of one source, most never do.
        let mut answered = |now| std::iter::from_fn(|| strangers.next(now, &mut dropped)).count();
        assert_eq!([answered(at(1_000)), answered(at(9_000))], [100, SOURCE.burst as usize]);
        assert_eq!(strangers.len(), CROWD);
        assert_eq!(dropped as usize, 500 - SOURCE.burst as usize - CROWD);
    }
}
