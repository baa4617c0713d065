//! Patterns that could never match what they were meant for are errors, before anything is sent or
//! deleted: what they were to protect would go.

use std::fs;

use crate::common::process::{self, Ran};
use crate::common::{Fleet, tree};

/// `h1` has a file that each of the patterns is meant to protect.
fn fleet_with_kept(name: &str) -> Fleet {
    let fleet = Fleet::new(name, 2);
    tree::write(fleet.path(0, "file"), "x");
    for at in ["x", "a.keep", "dir/x", "dir/a.keep", "a1"] {
        tree::write(fleet.path(1, at), "stays");
    }
    fleet
}

#[track_caller]
fn assert_untouched(fleet: &Fleet, what: &str) {
    for at in ["x", "a.keep", "dir/x", "dir/a.keep", "a1"] {
        assert!(fleet.path(1, at).exists(), "{what} deleted {at}");
    }
    assert!(!fleet.path(1, "file").exists(), "{what} sent something");
}

/// The patterns that are refused wherever they stand, and what the line says of each.
const NEVER: &[(&[u8], &str)] = &[
    (b"# c", "comments"),
    (b"#", "comments"),
    (b"; c", "comments"),
    (b";", "comments"),
    (b"#\tc", "comments"),
    (b"- *.keep", "the pattern alone"),
    (b"+ x", "the pattern alone"),
    (b"-\tx", "the pattern alone"),
    (b"P *.keep", "the pattern alone"),
    (b"protect *.keep", "the pattern alone"),
    (b"exclude x", "the pattern alone"),
    (b"H x", "the pattern alone"),
    (b": .filter", "the pattern alone"),
    (b". /etc/excludes", "the pattern alone"),
    (b"!", "'!'"),
    (b"!x", "'!'"),
    (b"**/x", "'**'"),
    (b"/**/x", "'**'"),
    (b"dir/**", "'**'"),
    (b"dir/**/x", "'**'"),
    (b"**", "'**'"),
    (b"x***", "'**'"),
    (b"[ab", "'['"),
    (b"dir/[ab", "'['"),
    (b"x[", "'['"),
    (b"[]", "'['"),
    (b"[!]", "'['"),
    (b"a[b/c]d", "'['"),
    (b"[[:digit:]", "'['"),
    (b"[[:digits:]]x", "class"),
    (b"[[:Alpha:]]", "class"),
    (b"[[.x.]]", "class"),
    (b"[[=x=]]", "class"),
    (b"[z-a]", "range"),
    (b"x[9-0]", "range"),
    (b"./x", "'.'"),
    (b"/./x", "'.'"),
    (b"dir/./x", "'.'"),
    (b".", "'.'"),
    (b"./", "'.'"),
    (b"../x", "'..'"),
    (b"dir/../x", "'..'"),
    (b"..", "'..'"),
    (b"\\./x", "'.'"),
    (b"*.{keep,x}", "braces"),
    (b"{a.keep,x}", "braces"),
    (b"\xef\xbb\xbfx", "byte order mark"),
    (b"\xff\xfex", "byte order mark"),
    (b"\xfe\xffx", "byte order mark"),
];

/// What is refused as a line of a file, and is a name like any other elsewhere.
const IN_FILES: &[(&[u8], &str)] = &[
    (b"#c", "comments"),
    (b"#*#", "comments"),
    (b";c", "comments"),
    (b" x", "blank"),
    (b"x ", "blank"),
    (b"\tx", "blank"),
    (b"a.keep\t", "blank"),
    (b" ", "blank"),
    (b" # c", "blank"),
    (b"x\r\r", "carriage return"),
    (b"x\ra.keep", "carriage return"),
    (b"x\0", "NUL"),
];

fn text(bytes: &[u8]) -> String {
    makuosan::name::Escaped(bytes).to_string()
}

#[track_caller]
fn assert_refused(ran: &Ran, begin: &str, why: &str) {
    assert_eq!(ran.code, Some(1), "{begin}: {ran:?}");
    assert_eq!(ran.out, "", "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), 1, "{begin}: {ran:?}");
    assert!(lines[0].starts_with(begin) && lines[0].contains(why), "{begin} … {why}: {ran:?}");
}

#[test]
fn a_pattern_that_can_match_nothing_is_an_error_of_its_option() {
    use std::os::unix::ffi::OsStrExt;
    let fleet = fleet_with_kept("patterns-option");
    for (pattern, why) in NEVER {
        for option in ["--exclude", "--include"] {
            for verb in [&["dsync", "-r"][..], &["send", "-r", "--delete"]] {
                let mut command = fleet.msync_command(0, verb);
                command.arg(option).arg(std::ffi::OsStr::from_bytes(pattern));
                let begin = format!("msync: {option} {}: ", text(pattern));
                assert_refused(&process::run(&mut command), &begin, why);
            }
        }
    }
    assert_untouched(&fleet, "a pattern");
}

#[test]
fn a_pattern_that_can_match_nothing_is_an_error_of_its_file_and_line() {
    let fleet = fleet_with_kept("patterns-file");
    let list = fleet.dir().join("list");
    for (pattern, why) in NEVER.iter().chain(IN_FILES) {
        for (before, end) in
            [(&b""[..], &b""[..]), (b"*.log\n\n", b"\n"), (b"*.log\r\n\r\n", b"\r\n")]
        {
            fs::write(&list, [before, pattern, end].concat()).unwrap();
            let line = if before.is_empty() { 1 } else { 3 };
            let from = format!("--exclude-from={}", list.display());
            let ran = fleet.msync(0, &["send", "-r", "--delete", &from]);
            let begin = format!("msync: --exclude-from {}: line {line}: ", list.display());
            assert_refused(&ran, &begin, why);
        }
    }
    // As Windows' editors write it.
    let utf16: Vec<u8> = "*.keep\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for marked in [[&b"\xff\xfe"[..], &utf16].concat(), utf16] {
        fs::write(&list, marked).unwrap();
        let from = format!("--exclude-from={}", list.display());
        let ran = fleet.msync(0, &["dsync", "-r", &from]);
        assert_refused(&ran, &format!("msync: --exclude-from {}: line 1: ", list.display()), "");
    }
    assert_untouched(&fleet, "a file of patterns");
}

#[test]
fn a_pattern_that_can_match_nothing_is_an_error_of_the_console() {
    let fleet = fleet_with_kept("patterns-console");
    for (pattern, why) in NEVER {
        let mut console = fleet.console(0);
        let mut line = b"exclude add ".to_vec();
        makuosan::console::words::push_quoted(&mut line, pattern);
        console.write(&[&line[..], b"\n"].concat());
        let answer = console.answer();
        assert!(answer.starts_with("error: ") && answer.contains(why), "{answer:?}");
        // Whoever does not look at the answer loses nothing by what comes next.
        for order in ["dsync -r ", "send -r --delete", "send -r", "sync x", "check -r"] {
            let answer = console.ask(order);
            assert!(answer.starts_with("error: a pattern was refused"), "{order}: {answer:?}");
        }
        assert_eq!(console.ask("exclude list"), "");
    }
    assert_untouched(&fleet, "the console");
    // Who has looked goes on.
    let mut console = fleet.console(0);
    assert!(console.ask("include add **/x").starts_with("error: "));
    assert_eq!(console.ask("exclude add *.keep"), "");
    assert!(console.ask("dsync -r").starts_with("error: a pattern was refused"));
    assert_eq!(console.ask("exclude clear"), "");
    for keep in ["x", "a.keep", "a1"] {
        assert_eq!(console.ask(&format!("exclude add {keep}")), "");
    }
    assert_eq!(console.ask("send -r --delete"), "");
    assert!(fleet.path(1, "file").exists() && fleet.path(1, "dir/x").exists());
}

#[test]
fn a_script_ends_at_a_pattern_that_is_refused() {
    let fleet = fleet_with_kept("patterns-script");
    for add in ["exclude add \"# c\"", "include add **/x", "exclude add", "exclude # c"] {
        let script = fleet.dir().join("script");
        fs::write(&script, format!("{add}\nexclude clear\nsend -r --delete\n")).unwrap();
        let ran = fleet.msync(0, &["-f", script.to_str().unwrap()]);
        assert_eq!(ran.code, Some(1), "{add}: {ran:?}");
        assert_untouched(&fleet, add);
    }
}

#[test]
fn a_name_that_looks_like_more_can_still_be_said() {
    let fleet = Fleet::new("patterns-names", 2);
    let names: &[(&str, &str)] = &[
        ("# c", "\\# c"),
        ("#c", "\\#c"),
        ("; c", "\\; c"),
        ("- x", "\\- x"),
        ("+ x", "[+] x"),
        ("P x", "\\P x"),
        ("exclude x", "\\exclude x"),
        ("!x", "\\!x"),
        ("**", "\\*\\*"),
        ("[ab", "\\[ab"),
        ("{a,b}", "\\{a,b}"),
        (" x", "\\ x"),
        ("x ", "x\\ "),
        ("\u{feff}x", "\\\u{feff}x"),
        ("-x", "-x"),
        (".x", ".x"),
        ("..x", "..x"),
        ("{a}", "{a}"),
        ("a#b", "a#b"),
    ];
    for (name, _) in names {
        tree::write(fleet.path(1, name), "stays");
    }
    tree::write(fleet.path(1, "goes"), "x");
    tree::write(fleet.path(0, "file"), "x");
    let list = fleet.dir().join("list");
    let patterns: Vec<&str> = names.iter().map(|(_, pattern)| *pattern).collect();
    fs::write(&list, patterns.join("\n")).unwrap();
    let from = format!("--exclude-from={}", list.display());
    fleet.msync(0, &["send", "-r", "--delete", &from]).ok();
    for (name, pattern) in names {
        assert!(fleet.path(1, name).exists(), "{pattern}");
    }
    assert!(!fleet.path(1, "goes").exists());
    // An option's argument is one pattern, and no line of a file.
    for name in ["#c", ";c", "#*#", " x", "x "] {
        fleet.msync(0, &["send", "-r", "--exclude", name]).ok();
    }
}

/// As many patterns as there may be, of all kinds, none of which matches any other name.
fn long_list() -> String {
    let pattern = |n: usize| match n % 5 {
        0 => format!("/kept{n}\n"),
        1 => format!("*.kept{n}\n"),
        2 => format!("kept{n}-*\n"),
        3 => format!("kept{n}/deep/*\n"),
        _ => format!("kept{n}[0-9]/\n"),
    };
    (0..65_536).map(pattern).collect()
}

#[test]
fn what_any_of_65536_patterns_protects_stays() {
    let fleet = Fleet::new("patterns-many", 2);
    let list = fleet.dir().join("list");
    fs::write(&list, long_list()).unwrap();
    let kept = ["kept65535", "x.kept65531", "d/kept65532-1", "d/kept65533/deep/f", "kept655341/f"];
    for at in kept.iter().chain(&["surplus", "d/kept5"]) {
        tree::write(fleet.path(1, at), "x");
    }
    tree::write(fleet.path(0, "d/file"), "sent");
    tree::write(fleet.path(0, "d/kept12-x"), "not sent");
    let from = format!("--exclude-from={}", list.display());
    let check = fleet.msync(0, &["-v", "check", "-r", &from]);
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(check.out.contains("surplus") && !check.out.contains("kept6553"), "{check:?}");
    let plain = fleet.msync(0, &["send", "-r", &from]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    let delete = fleet.msync(0, &["-v", "send", "-r", "--delete", &from]);
    assert_eq!(delete.code, Some(0), "{delete:?}");
    for at in kept {
        assert!(fleet.path(1, at).exists(), "{at} was deleted: {delete:?}");
    }
    assert!(!fleet.path(1, "surplus").exists() && !fleet.path(1, "d/kept5").exists());
    assert!(fleet.path(1, "d/file").exists() && !fleet.path(1, "d/kept12-x").exists());
}

#[test]
fn more_patterns_than_there_may_be_are_an_error_and_nothing_is_done() {
    let fleet = fleet_with_kept("patterns-too-many");
    let list = fleet.dir().join("list");
    let from = format!("--exclude-from={}", list.display());
    fs::write(&list, long_list() + "one-more\n").unwrap();
    let ran = fleet.msync(0, &["send", "-r", "--delete", &from]);
    let begin = format!("msync: --exclude-from {}: ", list.display());
    assert_refused(&ran, &begin, "at most 65536 patterns");
    let long = |n| format!("{n:0>1000}\n");
    fs::write(&list, (0..4_200).map(long).collect::<String>()).unwrap();
    let ran = fleet.msync(0, &["send", "-r", "--delete", &from]);
    assert_refused(&ran, &begin, "at most 4 MiB of patterns");
    // The limit is one of all files together.
    fs::write(&list, long_list()).unwrap();
    let ran = fleet.msync(0, &["send", "-r", "--delete", &from, "--exclude", "one-more"]);
    assert_refused(&ran, "msync: ", "at most 65536 patterns");
    assert_untouched(&fleet, "a list that is too long");
}
