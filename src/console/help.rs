//! The output of `help`.
#![forbid(unsafe_code)]

use super::options;
use super::verb::{Offer, VERBS, Verb};

/// A command's name with its arguments, and what it does.
fn text(verb: Verb) -> (&'static str, &'static str) {
    match verb {
        Verb::Send => ("send [PATH]", "send PATH"),
        Verb::Sync => ("sync [PATH]", "send PATH; if it does not exist here, delete it there"),
        Verb::Dsync => ("dsync [PATH]", "only delete, below PATH, what does not exist here"),
        Verb::Check => ("check [PATH]", "compare contents"),
        Verb::Fetch => ("fetch [PATH]", "make PATH here as it is on another host"),
        Verb::Members => {
            ("members [-v|json|behind [json]]", "list the other members, or who lacks something")
        }
        Verb::Status => ("status [-v|json]", "show what the daemon is doing"),
        Verb::Doctor => ("doctor [json]", "say what keeps files from arriving"),
        Verb::Metrics => ("metrics", "figures for Prometheus, in its text format"),
        Verb::History => ("history [json]", "list what was sent and received"),
        Verb::Forget => ("forget HOST", "a host that is away is not known any more"),
        Verb::Watch => ("watch [PATH]", "send PATH, and then what changes, while connected"),
        Verb::Flush => ("flush [PATH]", "wait until all that was changed before is sent"),
        Verb::Release => ("release PATH", "let a watch delete what it holds back"),
        Verb::Mirror => (
            "mirror [json] [list [PATH]]|release PATH|adopt PATH",
            "how mirrors stand, what waits; let held deletions go; prefer what is here",
        ),
        Verb::Conflicts => (
            "conflicts [json] [list [PATH]]|take PATH [VERSION]|drop [PATH [VERSION]]",
            "versions without a name: list them, give one the name, drop them",
        ),
        Verb::Exclude => (
            "exclude add PATTERN|del PATTERN|list|clear",
            "patterns of what this connection does not send",
        ),
        Verb::Include => (
            "include add PATTERN|del PATTERN|list|clear",
            "patterns of what it sends; the first pattern that matches decides",
        ),
        Verb::Files => ("files add PATH...|clear", "the list of paths for --listed"),
        Verb::Alive => ("alive [on|off]", "a line 'alive' every second while a command works"),
        Verb::Loglevel => ("loglevel [0-9]", "which lines to show: 0 errors, 1 updates, 2 skips"),
        Verb::Progress => ("progress [on|total|off]", "lines that show the progress of a transfer"),
        Verb::Report => {
            ("report [on|off]", "lines of JSON for errors, and for each host at the end")
        }
        Verb::Echo => ("echo WORDS", "say WORDS"),
        Verb::Help => ("help [COMMAND]", "show this"),
        Verb::Quit => ("quit", "close the connection (also exit, bye)"),
    }
}

/// The synopsis of a command: lines of at most 80 characters, continuation lines indented.
fn synopsis(verb: Verb, offer: &Offer, indent: &str) -> String {
    let (words, _) = text(verb);
    let (name, rest) = words.split_once(' ').unwrap_or((words, ""));
    let mut parts = vec![name.to_owned()];
    for opt in options::of(verb, offer) {
        let more = if opt.adds_up() { "..." } else { "" };
        parts.push(format!("[{}]{more}", opt.synopsis()));
    }
    parts.extend((!rest.is_empty()).then(|| rest.to_owned()));
    let mut lines = vec![indent.to_owned()];
    for part in parts {
        let last = lines.len() - 1;
        if lines[last].len() + 1 + part.len() > 80 {
            lines.push(format!("{:width$} {part}", "", width = indent.len() + name.len()));
        } else {
            let gap = if lines[last].len() == indent.len() { "" } else { " " };
            lines[last] = format!("{}{gap}{part}", lines[last]);
        }
    }
    lines.join("\n")
}

/// The synopses of all offered commands.
pub fn all(offer: &Offer) -> String {
    let mut lines = String::from("commands:\n");
    let mut seen: Vec<Verb> = Vec::new();
    for &(name, verb) in VERBS {
        if Verb::named(name.as_bytes(), offer).is_none() || seen.contains(&verb) {
            continue;
        }
        seen.push(verb);
        lines.push_str(&synopsis(verb, offer, "  "));
        lines.push('\n');
    }
    lines.push_str("names with spaces: a\\ b or \"a b\"; any byte: \"\\ooo\"\n");
    lines
}

/// One command: synopsis, description, options.
pub fn of(verb: Verb, offer: &Offer) -> String {
    let mut lines = format!("{}\n  {}\n", synopsis(verb, offer, "usage: "), text(verb).1);
    let width = options::of(verb, offer).map(|opt| opt.synopsis().len()).max().unwrap_or(0);
    for opt in options::of(verb, offer) {
        lines.push_str(&format!("  {:width$}  {}\n", opt.synopsis(), opt.help));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_what_is_offered_and_nothing_else() {
        let text = all(&Offer::ALL);
        for (name, _) in VERBS.iter().filter(|(name, _)| !["md5", "exit", "bye"].contains(name)) {
            assert!(text.contains(&format!("\n  {name}")), "{name}");
        }
        assert_eq!(text.matches("\n  check").count(), 1);
        let little = all(&Offer { send: true, ..Offer::default() });
        assert!(little.contains("\n  send [-r] [-n] [-t HOST]... [PATH]\n"));
        for name in ["sync", "dsync", "check", "md5", "members", "status", "exclude", "-g", "--"] {
            assert!(!little.contains(name), "{name}");
        }
    }

    #[test]
    fn no_line_of_help_can_be_taken_for_a_prompt_or_an_error() {
        for (_, verb) in VERBS {
            for line in of(*verb, &Offer::ALL).lines().chain(all(&Offer::ALL).lines()) {
                assert!(!line.starts_with("> ") && !line.starts_with("error:"), "{line}");
                assert!(line.len() <= 80, "{line}");
            }
        }
    }
}
