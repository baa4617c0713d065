//! What `help` says.
#![forbid(unsafe_code)]

use super::command::{Offer, VERBS, Verb};

/// How a command is written, and what it does.
fn text(verb: Verb, offer: &Offer) -> (&'static str, &'static str) {
    match verb {
        Verb::Send if offer.group => ("send [-r] [-n] [-t HOST]... [-g GROUP] [PATH]", "send PATH"),
        Verb::Send => ("send [-r] [-n] [-t HOST]... [PATH]", "send PATH"),
        Verb::Sync if offer.group => (
            "sync [-r] [-n] [-t HOST]... [-g GROUP] [PATH]",
            "send PATH; if it is gone here, delete it there",
        ),
        Verb::Sync => {
            ("sync [-r] [-n] [-t HOST]... [PATH]", "send PATH; if it is gone here, delete it there")
        }
        Verb::Dsync => {
            ("dsync [-r] [-n] [-t HOST]... [PATH]", "delete there what is not here, below PATH")
        }
        Verb::Check => ("check [-r] [-t HOST]... [PATH]", "compare contents"),
        Verb::Members => ("members [-v|json]", "list the other members of the group"),
        Verb::Status => ("status [json]", "show what the daemon is doing"),
        Verb::Exclude => {
            ("exclude add PATTERN|del PATTERN|list|clear", "what this connection does not send")
        }
        Verb::Alive => ("alive [on|off]", "a line 'alive' every second while a command works"),
        Verb::Loglevel => ("loglevel [0-9]", "which lines to show: 1 updates, 2 skips"),
        Verb::Progress => ("progress [on|total|off]", "lines that tell how far a transfer is"),
        Verb::Echo => ("echo WORDS", "say WORDS"),
        Verb::Help => ("help [COMMAND]", "show this"),
        Verb::Quit => ("quit", "close the connection (also exit, bye)"),
    }
}

/// What the options of a command mean; empty for most.
fn options(verb: Verb, offer: &Offer) -> String {
    let (recursive, dry_run) = (
        "  -r        the whole tree below PATH, or below the base\n",
        "  -n        only say what would be done\n",
    );
    let host = "  -t HOST   this member alone; many add up\n";
    let group = "  -g GROUP  the group that the receivers give what they write\n";
    let group = if offer.group { group } else { "" };
    match verb {
        Verb::Send | Verb::Sync => format!("{recursive}{dry_run}{host}{group}"),
        Verb::Dsync => format!("{recursive}{dry_run}{host}"),
        Verb::Check => format!("{recursive}{host}"),
        _ => String::new(),
    }
}

/// Every command that is offered, one a line.
pub fn all(offer: &Offer) -> String {
    let mut lines = String::from("commands:\n");
    let mut seen: Vec<Verb> = Vec::new();
    for &(name, verb) in VERBS {
        if Verb::named(name.as_bytes(), offer).is_none() || seen.contains(&verb) {
            continue;
        }
        seen.push(verb);
        lines.push_str(&format!("  {}\n", text(verb, offer).0));
    }
    lines.push_str("names with spaces: a\\ b or \"a b\"; any byte: \"\\ooo\"\n");
    lines
}

/// One command: how it is written, what it does, its options.
pub fn of(verb: Verb, offer: &Offer) -> String {
    let (synopsis, does) = text(verb, offer);
    format!("usage: {synopsis}\n  {does}\n{}", options(verb, offer))
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
        for name in ["sync", "dsync", "check", "md5", "members", "status", "exclude", "-g"] {
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
