//! The options of `msync`, as it reads them.

use super::*;
use crate::pattern::Rule;

fn run(args: &[&str]) -> Result<Asked<Config>, Error> {
    parse(args.iter().map(OsString::from), |_| None)
}

fn config(args: &[&str]) -> Config {
    match run(args) {
        Ok(Asked::Run(config)) => config,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn sent(args: &[&str]) -> Files {
    match config(args).command {
        Command::Files(files) => files,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn error(args: &[&str]) -> String {
    run(args).unwrap_err().to_string()
}

#[test]
fn every_option_of_the_table_does_something_by_both_names() {
    let plain = config(&["-r"]);
    for flag in FLAGS {
        let value = match flag.long {
            "connect" => Some("tcp:a"),
            "host" => Some("web1"),
            "loglevel" => Some("3"),
            "password" | "exclude-from" | "files-from" | "script" => Some("/file"),
            "group" => Some("www"),
            "max-delete" => Some("7"),
            "require" => Some("all"),
            "quorum" => Some("80%"),
            "exclude" | "include" => Some("*.tmp"),
            "from" => Some("web1"),
            "delay" => Some("500"),
            _ => None,
        };
        assert_eq!(flag.value.is_some(), value.is_some(), "{flag:?}");
        let go = |name: String| {
            // What every command takes, and what makes a send valid.
            let given = ["members", "status", "script", "behind", "no-probe"].contains(&flag.long);
            let rest = if given { None } else { Some("x") };
            let command = match flag.long {
                "from" => Some("fetch"),
                "delay" => Some("watch"),
                "quorum" => Some("--atomic"),
                "no-probe" => Some("doctor"),
                "all" => Some("conflicts"),
                _ => None,
            };
            let rest = if flag.long == "all" { Some("drop") } else { rest };
            let args = [command, Some(name.as_str()), value, rest];
            run(&args.into_iter().flatten().collect::<Vec<_>>())
        };
        let given = ["members", "status", "script", "behind", "recursive"].contains(&flag.long);
        let without = if given { plain.clone() } else { config(&["x"]) };
        let asked = go(format!("--{}", flag.long)).unwrap();
        assert_ne!(asked, Asked::Run(without), "{flag:?}");
        if let Some(letter) = flag.short {
            assert_eq!(go(format!("-{letter}")).unwrap(), asked, "{flag:?}");
        }
    }
}

#[test]
fn both_spellings_mean_the_same() {
    // But for what a message may say.
    let unnamed = |args: &[&str]| {
        let mut config = config(args);
        match &mut config.command {
            Command::Files(files) => assert!(std::mem::take(&mut files.named)),
            other => panic!("{other:?}"),
        }
        config
    };
    assert_eq!(unnamed(&["send", "-r", "dir"]), config(&["-r", "dir"]));
    assert_eq!(unnamed(&["-r", "send", "dir"]), config(&["-r", "dir"]));
    assert_eq!(config(&["-t", "host3", "send", "-r"]), config(&["-r", "-t", "host3"]));
    assert_eq!(config(&["members"]), config(&["--members"]));
    assert_eq!(config(&["status"]).command, Command::Status { verbose: false });
    assert_eq!(config(&["check", "-r"]), config(&["--check", "-r"]));
    assert_eq!(config(&["md5", "-r"]), config(&["--check", "-r"]));
    assert_eq!(config(&["sync", "a"]), config(&["--sync", "a"]));
    let members = |verbose, behind| Command::Members { verbose, behind };
    assert_eq!(config(&["members", "-v"]).command, members(true, false));
    for args in [&["members", "--behind"][..], &["--behind"], &["--members", "--behind"]] {
        assert_eq!(config(args).command, members(false, true));
    }
    assert_eq!(error(&["--behind", "status"]), "msync: status and members: one command at a time");
    let host = HostName::parse(b"web3").unwrap();
    assert_eq!(config(&["forget", "web3"]).command, Command::Forget(host));
    for args in [&["forget"][..], &["forget", "a", "b"]] {
        assert!(error(args).starts_with("msync: forget: one HOST"), "{args:?}");
    }
    assert!(error(&["forget", "a/b"]).contains("a/b"));
    assert_eq!(config(&["-f", "-"]).command, Command::Script(Text::Input));
    assert_eq!(config(&["-f", "./-"]).command, Command::Script(Text::File("./-".into())));
    assert_eq!(config(&["-v", "--status", "status"]).command, Command::Status { verbose: true });
    assert_eq!(sent(&["index.html"]).paths, [b"index.html"]);
    assert_eq!(sent(&["send", "a", "b"]).paths, [b"a", b"b"]);
}

#[test]
fn a_file_may_be_called_like_a_command() {
    assert_eq!(sent(&["./send"]).paths, [b"./send"]);
    assert_eq!(sent(&["--", "send"]).paths, [b"send"]);
    assert_eq!(sent(&["send", "--", "-x", "status"]).paths, [&b"-x"[..], b"status"]);
    assert_eq!(sent(&["send", "send"]).paths, [b"send"]);
    assert_eq!(sent(&["--check", "--", "check"]).paths, [b"check"]);
    assert_eq!(sent(&["./check"]).paths, [b"./check"]);
}

#[test]
fn paths_are_bytes() {
    let args = [OsString::from("-r"), OsString::from_vec(b"\xff\xfe \n".to_vec())];
    let Ok(Asked::Run(config)) = parse(args, |_| None) else { panic!() };
    let Command::Files(files) = config.command else { panic!() };
    assert_eq!(files.paths, [b"\xff\xfe \n"]);
}

#[test]
fn levels_and_progress() {
    assert_eq!(config(&["-r"]).loglevel, 0);
    assert_eq!(config(&["-rv"]).loglevel, 1);
    assert_eq!(config(&["-rvv"]).loglevel, 2);
    assert_eq!(config(&["-rv", "-l", "5"]).loglevel, 5);
    assert!(config(&["-rv"]).verbose && !config(&["-r"]).verbose);
    let quiet = config(&["-rqv", "--progress"]);
    assert_eq!((quiet.loglevel, quiet.verbose, quiet.show), (0, false, Show::Quiet));
    assert_eq!(config(&["-r", "--progress", "--no-progress"]).show, Show::NoProgress);
    assert_eq!(error(&["-r", "-l", "10"]), "msync: -l 10: a log level is 0 to 9");
}

#[test]
fn targets() {
    let env = |text: &'static str| move |_: &str| Some(OsString::from(text));
    let target = |args: &[&str], text| match parse(args.iter().map(OsString::from), env(text)) {
        Ok(Asked::Run(config)) => config.target.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(target(&["-r"], "unix:/s"), "unix:/s");
    assert_eq!(target(&["-r", "-c", "tcp:x"], "unix:/s"), "tcp:x:5000");
    assert_eq!(target(&["-r"], ""), "tcp:127.0.0.1:5000");
    let bad = parse([OsString::from("-r")], env("tcp:a:b")).unwrap_err().to_string();
    assert!(bad.starts_with("msync: MSYNC_TARGET=tcp:a:b: a target is"), "{bad}");
}

#[test]
fn what_cannot_be_obeyed_is_one_clear_line() {
    assert!(error(&["send"]).starts_with("msync: send: a PATH is missing"));
    assert!(error(&["-v"]).starts_with("msync: send: a PATH is missing"));
    assert!(error(&["send", ""]).starts_with("msync: send: a PATH is missing"));
    assert_eq!(error(&["members", "x"]), "msync: x: members takes no path");
    assert_eq!(error(&["status", "-r"]), "msync: -r: not an option of status");
    assert_eq!(error(&["--members", "-t", "a"]), "msync: -t: not an option of members");
    assert_eq!(error(&["send", "--status", "x"]), "msync: send and status: one command at a time");
    assert!(error(&["-r", "-t", "a b"]).starts_with("msync: -t a b: a host name has"));
    assert_eq!(error(&["-r", "-x"]), "msync: -x: no such option");
    assert!(error(&[]).starts_with("Usage: msync"));
    for (args, why) in [
        (&["-r", "-g", "a b"][..], "-g a b: a group is"),
        (&["-r", "-g", ""], "-g : a group is"),
        (&["-r", "--max-delete", "-1"], "--max-delete -1: a number"),
        (&["-r", "-K", ""], "-K : must not be empty"),
        (&["-f", ""], "-f : must not be empty"),
        (&["-r", "--exclude-from", ""], "--exclude-from : must not be empty"),
        (&["-r", "--exclude", ""], "--exclude : empty pattern"),
        (&["-r", "--include", "x\\"], "--include x\\134: a pattern cannot end"),
        (&["check", "-rn"], "-n: not an option of check"),
        (&["check", "-r", "--delete"], "--delete: not an option of check"),
        (&["dsync", "-r", "--delete"], "--delete: not an option of dsync"),
        (&["dsync", "-r", "-g", "a"], "-g: not an option of dsync"),
        (&["members", "--exclude", "a"], "--exclude: not an option of members"),
        (&["-f", "x", "-t", "a"], "-t: not an option of -f"),
        (&["-f", "x", "--json"], "--json: not an option of -f"),
        (&["-f", "x", "y"], "y: -f takes no path"),
        (&["send", "-f", "x"], "send and -f: one command"),
        (&["sync", "--check", "x"], "sync and check: one command"),
        (&["dsync"], "dsync: a PATH is missing"),
        (&["-f", "-", "--exclude-from=-"], "-: standard input can be read only once"),
    ] {
        let text = error(args);
        assert!(text.starts_with(&format!("msync: {why}")), "{text}");
    }
}

#[test]
fn the_same_host_twice_is_one_host() {
    assert_eq!(sent(&["-r", "-t", "a", "-t", "b", "-t", "a"]).hosts.len(), 2);
}

#[test]
fn patterns_keep_their_order() {
    let args = ["-r", "--exclude=a", "--include", "b", "--exclude-from", "f", "x", "--exclude=c"];
    assert_eq!(
        config(&args).filters,
        [
            Filter::Rule(Rule::exclude(b"a")),
            Filter::Rule(Rule::include(b"b")),
            Filter::From(Text::File("f".into())),
            Filter::Rule(Rule::exclude(b"c")),
        ]
    );
    let input = config(&["-r", "--exclude-from=-"]).filters;
    assert_eq!(input, [Filter::From(Text::Input)]);
}

#[test]
fn what_a_transfer_is_told() {
    let all = Files {
        from: None,
        named: true,
        verb: Verb::Sync,
        recursive: true,
        dry_run: true,
        delete: true,
        delete_before: true,
        force: true,
        max_delete: Some(7),
        ignore_times: true,
        checksum: true,
        lax_attributes: true,
        atomic: None,
        require: Some(Require::AtLeast(2)),
        hosts: vec![HostName::parse(b"10.0.0.1").unwrap()],
        group: Some("www".to_owned()),
        list: None,
        paths: vec![b"a".to_vec()],
    };
    let args = "sync -rnI --delete --delete-before --force --max-delete=7 --checksum --lax-attributes --require 2 -t 10.0.0.1 -g www a";
    assert_eq!(sent(&args.split(' ').collect::<Vec<_>>()), all);
}

#[test]
fn all_or_nothing_is_asked_for_with_how_many_are_enough() {
    let atomic = |args: &[&str]| sent(&[&["send", "-r", "--atomic"], args].concat()).atomic;
    assert_eq!(atomic(&[]), Some(Quorum::All));
    assert_eq!(atomic(&["--quorum", "3"]), Some(Quorum::AtLeast(3)));
    assert_eq!(atomic(&["--quorum=80%"]), Some(Quorum::Percent(80)));
    assert!(sent(&["send", "--atomic", "a", "b"]).together());
    assert!(!sent(&["send", "a", "b"]).together());
    for (args, why) in [
        (&["send", "-r", "--quorum", "3"][..], "only with --atomic"),
        (&["send", "-r", "--atomic", "--quorum", "0"], "from 1 on"),
        (&["send", "-r", "--atomic", "--delete-before"], "--delete-before"),
        (&["sync", "--atomic", "a", "b"], "one PATH"),
        (&["check", "--atomic", "a"], "--atomic"),
    ] {
        let error = error(args);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn every_command_that_was_a_file_once_is_known_as_such() {
    let old = ["send", "sync", "dsync", "check", "md5", "members", "status"];
    for (name, _) in COMMANDS {
        assert_ne!(NEW.contains(name), old.contains(name), "{name}");
    }
    for name in NEW {
        let is_command = COMMANDS.iter().any(|(command, _)| command == name);
        match run(&[name]) {
            Ok(Asked::Run(config)) => {
                assert_eq!(config.new_word, is_command.then_some(*name));
                let is_file = matches!(config.command, Command::Files(ref files) if !files.named);
                assert!(is_command || is_file);
            }
            // It needs more words.
            other => assert!(is_command, "{other:?}"),
        }
        assert_eq!(config(&[&format!("./{name}")]).new_word, None);
        assert_eq!(config(&["send", name]).new_word, None);
        assert_eq!(config(&["--", name]).new_word, None);
    }
    assert_eq!(config(&["-v", "--json", "history"]).new_word, Some("history"));
    let file = "(a file is ./history)";
    for args in [&["history", "--sync"][..], &["-r", "history"], &["history", "x"]] {
        assert!(error(args).ends_with(file), "{args:?}: {}", error(args));
    }
    assert!(!error(&["send", "--status", "x"]).contains("./"));
}

#[test]
fn how_many_hosts_are_required() {
    let required = |value: &str| sent(&["send", "--require", value, "a"]).require;
    assert_eq!(required("all"), Some(Require::All));
    assert_eq!(required("12"), Some(Require::AtLeast(12)));
    for bad in ["", "0", "-1", "+1", "ALL", "1.5", "99999999999999999999"] {
        let why = error(&["send", &format!("--require={bad}"), "a"]);
        assert!(why.ends_with("all, or a number of hosts from 1 on"), "{why}");
    }
}

#[test]
fn mirrors_are_shown_and_decided_of() {
    let does = |args: &[&str]| config(args).command;
    assert_eq!(does(&["mirror"]), Command::Mirror);
    let list = |what, path: &str| Command::List(what, path.as_bytes().to_vec());
    assert_eq!(does(&["conflicts"]), list("conflicts", ""));
    assert_eq!(does(&["conflicts", "list"]), list("conflicts", ""));
    assert_eq!(does(&["conflicts", "list", "d"]), list("conflicts", "d"));
    assert_eq!(does(&["mirror", "list"]), list("mirror", ""));
    assert_eq!(does(&["mirror", "list", "d"]), list("mirror", "d"));
    for args in [&["conflicts", "--all"][..], &["conflicts", "drop", "d", "--all"]] {
        let why = "msync: --all: only conflicts drop has it, without a PATH";
        assert_eq!(error(args), why, "{args:?}");
    }
    assert!(config(&["--json", "conflicts"]).json);
    let decide = |words, path: &str, version: Option<&str>| {
        Command::Decide(
            words,
            path.as_bytes().to_vec(),
            version.map(|text| text.as_bytes().to_vec()),
        )
    };
    assert_eq!(does(&["mirror", "release", "d"]), decide("mirror release", "d", None));
    assert_eq!(does(&["mirror", "adopt", "."]), decide("mirror adopt", ".", None));
    assert_eq!(does(&["conflicts", "take", "d/f"]), decide("conflicts take", "d/f", None));
    assert_eq!(
        does(&["conflicts", "take", "d/f", "0f-3"]),
        decide("conflicts take", "d/f", Some("0f-3"))
    );
    for args in [&["conflicts", "drop", "--all"][..], &["--all", "conflicts", "drop"]] {
        assert_eq!(does(args), decide("conflicts drop", "", None));
    }
    assert_eq!(does(&["conflicts", "drop", "d"]), decide("conflicts drop", "d", None));
    assert_eq!(
        does(&["conflicts", "drop", "f", "0f-3"]),
        decide("conflicts drop", "f", Some("0f-3"))
    );
    let mirror =
        "msync: mirror: list [PATH], release PATH or adopt PATH may follow (a file is ./mirror)";
    for args in [
        &["mirror", "d"][..],
        &["mirror", "release"],
        &["mirror", "release", ""],
        &["mirror", "release", "d", "e"],
        &["mirror", "take", "d"],
    ] {
        assert_eq!(error(args), mirror, "{args:?}");
    }
    let conflicts = "msync: conflicts: list [PATH], take PATH [VERSION], drop PATH [VERSION] or drop --all may \
                     follow (a file is ./conflicts)";
    for args in [
        &["conflicts", "d"][..],
        &["conflicts", "take"],
        &["conflicts", "take", ""],
        &["conflicts", "drop"],
        &["conflicts", "drop", "f", "0f-3", "0f-4"],
        &["conflicts", "adopt", "d"],
    ] {
        assert_eq!(error(args), conflicts, "{args:?}");
    }
    assert_eq!(
        error(&["conflicts", "take", "f", "a/b"]),
        "msync: a/b: not a VERSION as conflicts shows it"
    );
    assert!(error(&["mirror", "-r"]).contains("not an option of mirror"));
    assert!(error(&["conflicts", "--delete"]).contains("not an option of conflicts"));
    // A file of such a name is still sent.
    assert_eq!(sent(&["./mirror"]).paths, [b"./mirror".to_vec()]);
    assert_eq!(sent(&["--", "conflicts"]).paths, [b"conflicts".to_vec()]);
}
