//! The patterns of a session: `exclude` and `include`.

use super::super::command::Edit;
use super::super::error::{Code, ErrorLine};
use super::{Session, State};
use crate::name::Escaped;
use crate::pattern::{PatternError, Rule};

impl Session {
    /// Adds, removes or lists patterns.
    pub(super) fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Add(rule) => {
                if let Err(why) = self.patterns.add(&rule) {
                    self.unheeded = true;
                    self.refuse(why, &rule);
                }
            }
            Edit::Del(rule) => match self.patterns.remove(&rule) {
                Ok(true) => {}
                Ok(false) => {
                    let why = format!("pattern not found {}", Escaped(&rule.pattern));
                    self.error(&ErrorLine::new(Code::InvalidPattern, why));
                }
                Err(why) => self.refuse(why, &rule),
            },
            Edit::Clear => {
                self.unheeded = false;
                self.patterns.clear();
            }
            Edit::List => self.state = State::Listing(0),
        }
    }

    fn refuse(&mut self, why: PatternError, rule: &Rule) {
        let why = match why {
            // It is not this pattern that is wrong.
            PatternError::TooMany
            | PatternError::TooMuch
            | PatternError::TooMuchTogether
            | PatternError::TooManySets => why.to_string(),
            _ => format!("{why} {}", Escaped(&rule.pattern)),
        };
        self.error(&ErrorLine::new(Code::InvalidPattern, why));
    }

    /// Lists the patterns from number `next` on, as many as the client has room for.
    pub(super) fn list_patterns(&mut self, next: usize) {
        let patterns = self.patterns.patterns().clone();
        for (number, (include, pattern)) in patterns.rules().enumerate().skip(next) {
            if self.is_behind() {
                self.state = State::Listing(number);
                return;
            }
            let mark = if include { "+ " } else { "" };
            self.put(&format!("{mark}{}", Escaped(pattern)));
        }
        self.state = State::Idle;
        self.current.clear();
        self.prompt();
    }
}
