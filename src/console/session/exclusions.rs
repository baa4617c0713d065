//! The patterns of a connection: what its transfers leave out, and what they do not.

use crate::console::command::Edit;
use crate::console::reply;
use crate::name::Escaped;
use crate::pattern::{self, Patterns, Rule};

/// The patterns, in the order added.
#[derive(Debug, Default)]
pub(super) struct Exclusions {
    pub(super) patterns: Patterns,
    /// A pattern was refused. What it was to protect would go with the next transfer, so there is
    /// none until all patterns are cleared.
    pub(super) unheeded: bool,
}

impl Exclusions {
    /// Does what a line says about patterns; the lines that answer it.
    pub(super) fn edit(&mut self, edit: Edit) -> Vec<String> {
        let mut rules = self.patterns.rules().to_vec();
        match edit {
            Edit::Add(rule) if rules.contains(&rule) => return Vec::new(),
            Edit::Add(rule) => {
                if let Err(why) = pattern::check(&rule.pattern) {
                    self.unheeded = true;
                    let shown = Escaped(&rule.pattern);
                    return vec![reply::trouble(&format!("{why} {shown}"))];
                }
                rules.push(rule);
            }
            Edit::Del(rule) => match rules.iter().position(|have| *have == rule) {
                Some(at) => drop(rules.remove(at)),
                None => {
                    let shown = Escaped(&rule.pattern).to_string();
                    return vec![format!("error: pattern not found {shown}")];
                }
            },
            Edit::Clear => {
                self.unheeded = false;
                rules.clear();
            }
            Edit::List => {
                let mark = |include| if include { "+ " } else { "" };
                let line =
                    |rule: &Rule| format!("{}{}", mark(rule.include), Escaped(&rule.pattern));
                return rules.iter().map(line).collect();
            }
        }
        match Patterns::new(rules) {
            Ok(patterns) => {
                self.patterns = patterns;
                Vec::new()
            }
            // Each of them is one: there are too many.
            Err(why) => {
                self.unheeded = true;
                vec![reply::trouble(&why.to_string())]
            }
        }
    }
}

/// Whether a line is to add a pattern, as far as that can be told of one that is not understood.
pub(super) fn adds_pattern(line: &[u8]) -> bool {
    let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let edits = matches!(words.next(), Some(b"exclude" | b"include"));
    edits && !matches!(words.next(), None | Some(b"list" | b"del" | b"clear"))
}
