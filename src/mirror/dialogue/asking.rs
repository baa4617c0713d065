//! The question that this host has asked, until a transfer begins for it.

use super::types::Own;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::mirror::{Answer, MAX_NEEDED, Mirror, Question, parts};
use crate::wire::names::Hash;

/// How long an answer may take, and how often the question is said.
const ANSWER: Span = Span::from_secs(1);
const TRIES: u32 = 4;
/// How long it may take until the transfer begins that was promised: who serves gathers for some seconds, and reads files.
const BEGINS: Span = Span::from_secs(15);

/// A question on its way.
#[derive(Debug)]
pub(super) struct Asking {
    /// Whom it is for.
    pub of: NodeId,
    /// It is about bytes only.
    pub is_for_bytes: bool,
    number: u32,
    question: Vec<u8>,
    /// How much of it has arrived for sure.
    arrived: usize,
    tries: u32,
    /// When something has to have happened.
    pub until: Time,
}

/// What became of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It goes on.
    Open,
    /// There is nothing to be had; the hash of what is known there.
    Nothing(u64),
    /// It will not be answered.
    Failed,
}

impl Asking {
    /// Asks a node what this host lacks.
    pub fn new(now: Time, of: NodeId, number: u32, is_for_bytes: bool, own: &Own<'_>) -> Self {
        let needed = own.needed.iter().copied().take(MAX_NEEDED).collect();
        let question = Question { knowledge: own.knowledge.clone(), needed }.emit();
        let until = now + ANSWER;
        Asking { of, is_for_bytes, number, question, arrived: 0, tries: 1, until }
    }

    /// The parts that have to be sent.
    pub fn parts(&self, tree: Hash, room: usize) -> impl Iterator<Item = Mirror> + '_ {
        parts(tree, self.number, &self.question, self.arrived, room)
    }

    /// Takes an answer; also says whether parts have to be sent.
    pub fn answered(&mut self, now: Time, number: u32, answer: Answer) -> (Fate, bool) {
        if number != self.number {
            return (Fate::Open, false);
        }
        match answer {
            Answer::Part(have) => {
                let have = have as usize;
                let is_late = have <= self.arrived && self.is_late(now);
                let more = have < self.question.len() && (have > self.arrived || is_late);
                if more {
                    (self.arrived, self.until) = (have, now + ANSWER);
                }
                (Fate::Open, more)
            }
            Answer::Coming => {
                self.tries = TRIES;
                self.until = now + BEGINS;
                (Fate::Open, false)
            }
            Answer::Nothing { hash } => (Fate::Nothing(hash), false),
            Answer::Later => (Fate::Failed, false),
        }
    }

    /// Time is up; says whether parts have to be sent again.
    pub fn is_late(&mut self, now: Time) -> bool {
        let again = self.tries < TRIES;
        self.tries += 1;
        self.until = now + ANSWER;
        again
    }
}
