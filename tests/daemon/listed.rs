//! `send --files-from`: lists of paths, with what is gone among them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::common::{Fleet, eventually, tree};

/// Writes a list for a command.
fn list(fleet: &Fleet, text: impl AsRef<[u8]>) -> String {
    let path = fleet.dir().join("list");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn names(paths: &[&str]) -> String {
    paths.iter().map(|path| format!("{path}\n")).collect()
}

fn is_there(path: PathBuf) -> bool {
    path.symlink_metadata().is_ok()
}

/// What is below the base of a host, with the contents of files.
fn files(fleet: &Fleet, host: usize) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let (base, mut found) = (fleet.base(host), Vec::new());
    let mut todo = vec![base.clone()];
    while let Some(dir) = todo.pop() {
        for one in fs::read_dir(dir).unwrap() {
            let path = one.unwrap().path();
            if path.ends_with(".makuosan") {
                continue;
            }
            if path.is_dir() {
                todo.push(path.clone());
            }
            found.push((path.strip_prefix(&base).unwrap().to_owned(), fs::read(&path).ok()));
        }
    }
    found.sort();
    found
}

/// The paths below `base` of those that are there.
fn there<'a>(fleet: &Fleet, host: usize, paths: &[&'a str]) -> Vec<&'a str> {
    paths.iter().copied().filter(|path| is_there(fleet.path(host, path))).collect()
}

#[test]
fn what_is_listed_is_sent_and_what_is_gone_is_deleted_and_nothing_else() {
    let fleet = Fleet::new("listed", 3);
    for at in ["d/e/f", "d/other", "d/gone", "d/tree/a/b", "stays", "gone"] {
        tree::write(fleet.path(0, at), at);
    }
    fleet.msync(0, &["send", "-r"]).ok();
    tree::write(fleet.path(0, "d/e/f"), "changed");
    tree::write(fleet.path(0, "d/other"), "changed, and not listed");
    tree::write(fleet.path(0, "new/deep/x"), "new");
    for at in ["d/gone", "gone"] {
        fs::remove_file(fleet.path(0, at)).unwrap();
    }
    fs::remove_dir_all(fleet.path(0, "d/tree")).unwrap();
    fs::remove_file(fleet.path(0, "stays")).unwrap();
    let paths = ["d/e/f", "d/gone", "./d//tree/", "/gone", "", "new/deep/x", "never/was"];
    let from = list(&fleet, names(&paths));
    let said = fleet.msync(0, &["send", "-n", "--delete", "--files-from", &from]).well();
    for line in
        ["delete:d/gone", "delete:d/tree/a/b", "delete:gone", "update:d/e/f", "update:new/deep/x"]
    {
        assert!(said.out.contains(&format!("[{line}]")), "{line}: {said:?}");
    }
    assert!(is_there(fleet.path(1, "gone")));
    fleet.msync(0, &["send", "--delete", "--files-from", &from]).well();
    for host in [1, 2] {
        let got = |at: &str| fs::read_to_string(fleet.path(host, at)).unwrap();
        let time = |host: usize| fs::metadata(fleet.path(host, "d")).unwrap().modified().unwrap();
        assert_eq!(time(host), time(0));
        assert_eq!((got("d/e/f"), got("new/deep/x")), ("changed".into(), "new".into()));
        assert_eq!((got("d/other"), got("stays")), ("d/other".into(), "stays".into()));
        assert_eq!(there(&fleet, host, &["d/gone", "d/tree", "gone", "never"]), [""; 0]);
    }
}

#[test]
fn without_delete_what_is_not_there_is_an_error_and_the_rest_is_sent() {
    let fleet = Fleet::new("listed-missing", 2);
    tree::write(fleet.path(0, "a"), "a");
    tree::write(fleet.path(1, "b"), "b");
    let from = list(&fleet, "a\nb\n");
    let ran = fleet.msync(0, &["send", "--files-from", &from]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.errors().len(), 1, "{ran:?}");
    assert!(ran.errors()[0].contains("No such file or directory b"), "{ran:?}");
    assert_eq!(there(&fleet, 1, &["a", "b"]), ["a", "b"]);
}

#[test]
fn paths_are_below_the_path_of_the_command_and_whole_with_r() {
    let fleet = Fleet::new("listed-below", 3);
    for at in ["top/d/x", "top/d/y", "top/e", "d/x"] {
        tree::write(fleet.path(0, at), at);
    }
    tree::write(fleet.path(1, "top/d/old"), "old");
    tree::write(fleet.path(1, "top/old"), "old");
    let from = list(&fleet, "d\nf\n");
    let alone = ["send", "--delete", "--files-from", &from, "top"];
    fleet.msync(0, &alone).well();
    assert_eq!(there(&fleet, 1, &["top/d", "top/d/x", "top/d/old", "d"]), ["top/d", "top/d/old"]);
    // One member alone.
    let whole = ["send", "-r", "--delete", "-t", "h1", "--files-from", &from, "top"];
    fleet.msync(0, &whole).well();
    let all = ["top/d/x", "top/d/y", "top/d/old", "top/old", "top/e", "d"];
    assert_eq!(there(&fleet, 1, &all), ["top/d/x", "top/d/y", "top/old"]);
    assert_eq!(there(&fleet, 2, &all), [""; 0]);
    let ran = fleet.msync(0, &["check", "-r", "--files-from", &from, "top"]);
    assert_eq!(ran.code, Some(2), "h2 lacks them: {ran:?}");
    fleet.msync(0, &["check", "-r", "-t", "h1", "--files-from", &from, "top"]).well();
    tree::write(fleet.path(1, "top/f"), "not here");
    let ran = fleet.msync(0, &["check", "-v", "-t", "h1", "--files-from", &from, "top"]);
    assert!(ran.out.contains("top/f"), "{ran:?}");
    // A list of what find says: the top itself is among it.
    let from = list(&fleet, ".\n./d\n./d/x\n./.makuosan/stage\n./e\n");
    fleet.msync(0, &["send", "--files-from", &from, "top"]).well();
    assert_eq!(there(&fleet, 2, &["top/e", "top/d/x", "top/d/y"]), ["top/e", "top/d/x"]);
}

#[test]
fn names_of_any_bytes_come_with_nul() {
    let fleet = Fleet::new("listed-bytes", 2);
    let odd: Vec<Vec<u8>> = vec![
        b"a b".to_vec(),
        b"-r".to_vec(),
        b"new\nline".to_vec(),
        b"\xff\xfe".to_vec(),
        b"\"quoted\\".to_vec(),
        b"# no comment".to_vec(),
        b"cr\r".to_vec(),
        vec![b'x'; 255],
        (1..=255).filter(|byte| *byte != b'/').collect::<Vec<u8>>()[..200].to_vec(),
    ];
    let at = |host: usize, name: &[u8]| fleet.path(host, Path::new(OsStr::from_bytes(name)));
    let mut text = Vec::new();
    for name in &odd {
        tree::write(at(0, name), "odd");
        tree::write(at(1, &[b"gone ", &name[..40.min(name.len())]].concat()), "gone");
        text.extend_from_slice(&[name, &[0][..]].concat());
        text.extend_from_slice(&[b"gone ", &name[..40.min(name.len())], &[0][..]].concat());
    }
    let from = list(&fleet, &text);
    fleet.msync(0, &["send", "--delete", "-0", "--files-from", &from]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    // From standard input.
    tree::write(at(0, b"one"), "1");
    let mut child = fleet
        .msync_command(0, &["send", "--files-from=-", "--from0"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"one").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(is_there(at(1, b"one")));
}

#[test]
fn what_has_become_something_else_takes_its_place() {
    let fleet = Fleet::new("listed-kinds", 3);
    for at in ["dir/a/b", "dir-link/a", "file", "link-dir/keeps"] {
        tree::write(fleet.path(0, at), at);
    }
    symlink("file", fleet.path(0, "link")).unwrap();
    fleet.msync(0, &["send", "-r"]).ok();
    let become_file = |at: &str| {
        fs::remove_dir_all(fleet.path(0, at)).unwrap();
        tree::write(fleet.path(0, at), "a file now");
    };
    become_file("dir");
    fs::remove_dir_all(fleet.path(0, "dir-link")).unwrap();
    symlink("dir", fleet.path(0, "dir-link")).unwrap();
    fs::remove_file(fleet.path(0, "file")).unwrap();
    tree::write(fleet.path(0, "file/in/it"), "a directory now");
    fs::remove_file(fleet.path(0, "link")).unwrap();
    tree::write(fleet.path(0, "link/x"), "a directory now");
    let from =
        list(&fleet, "dir\ndir/a\ndir/a/b\ndir-link\ndir-link/a\nfile\nfile/in/it\nlink\nlink/x\n");
    fleet.msync(0, &["send", "--delete", "--files-from", &from]).well();
    for host in [1, 2] {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(host));
    }
}

#[test]
fn what_is_excluded_is_neither_sent_nor_deleted() {
    let fleet = Fleet::new("listed-excluded", 2);
    for at in ["a.tmp", "a", "out/x"] {
        tree::write(fleet.path(0, at), at);
    }
    for at in ["b.tmp", "b", "out/y", "tree/c.tmp", "tree/c"] {
        tree::write(fleet.path(1, at), at);
    }
    let from = list(&fleet, "a.tmp\na\nout/x\nb.tmp\nb\nout/y\ntree\n");
    let args =
        ["send", "--delete", "--exclude", "*.tmp", "--exclude", "out/", "--files-from", &from];
    fleet.msync(0, &args).well();
    let all = ["a.tmp", "a", "out/x", "b.tmp", "b", "out/y", "tree/c.tmp", "tree/c"];
    assert_eq!(there(&fleet, 1, &all), ["a", "b.tmp", "out/y", "tree/c.tmp"]);
}

#[test]
fn a_limit_of_deletions_holds_for_a_list() {
    let fleet = Fleet::new("listed-limit", 2);
    tree::write(fleet.path(0, "new"), "new");
    let mut text = String::from("new\n");
    for n in 0..150 {
        tree::write(fleet.path(1, format!("f{n}")), "x");
        text += &format!("f{n}\n");
    }
    let from = list(&fleet, &text);
    let ran = fleet.msync(0, &["send", "--delete", "--max-delete", "149", "--files-from", &from]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.errors()[0].contains("over the limit of 149"), "{ran:?}");
    assert_eq!(there(&fleet, 1, &["new", "f7"]), ["new", "f7"]);
    // What is listed is meant, also if it is all there is.
    fleet.msync(0, &["send", "--delete", "--max-delete", "150", "--files-from", &from]).well();
    assert_eq!(there(&fleet, 1, &["new", "f7"]), ["new"]);
}

#[test]
fn sixty_five_thousand_paths_are_one_transfer() {
    let fleet = Fleet::new("listed-many", 2);
    let mut text = String::new();
    for n in 0..65_536 {
        if n % 64 == 0 {
            tree::write(fleet.path(0, format!("d{}/f{n}", n % 1_000)), format!("{n}"));
        }
        if n % 64 == 1 {
            tree::write(fleet.path(1, format!("d{}/f{n}", n % 1_000)), "gone");
        }
        text += &format!("d{}/f{n}\n", n % 1_000);
    }
    let from = list(&fleet, &text);
    let ran = fleet.msync(0, &["send", "--json", "--delete", "--files-from", &from]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(is_there(fleet.path(1, "d64/f64")) && !is_there(fleet.path(1, "d65/f65")));
    text += "one more\n";
    let from = list(&fleet, &text);
    let ran = fleet.msync(0, &["send", "--files-from", &from]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("more than 65536 paths"), "{ran:?}");
}

#[test]
fn a_list_that_is_wrong_is_refused_before_anything_is_sent() {
    let fleet = Fleet::new("listed-wrong", 2);
    tree::write(fleet.path(0, "a"), "a");
    for (text, why) in [("a\n../b\n", "path 2: path component \"..\""), ("\n\0\n", "path 2: ")] {
        let from = list(&fleet, text);
        let ran = fleet.msync(0, &["send", "--files-from", &from]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
    }
    let ran = fleet.msync(0, &["send", "--files-from", "/none/such"]);
    assert!(ran.code == Some(1) && ran.err.contains("No such file"), "{ran:?}");
    assert!(!is_there(fleet.path(1, "a")));
    // At the console.
    let mut console = fleet.console(0);
    assert_eq!(console.ask("files add a \"b c\""), "");
    assert!(console.ask("files add ../x").contains("error"));
    let (lines, _) = (console.ask("send --listed"), ());
    assert!(lines.contains("a path was refused"), "{lines}");
    console.ask("files clear");
    console.ask("files add a");
    assert!(console.ask("send --listed sub").contains("not below sub"));
    assert_eq!(console.ask("send --listed"), "");
    assert!(is_there(fleet.path(1, "a")));
}

#[test]
fn a_host_that_was_away_gets_what_lists_said_and_loses_what_they_said_is_gone() {
    let mut fleet = Fleet::new("listed-away", 3);
    for at in ["d/a", "d/b", "d/tree/x/y", "gone", "e/old"] {
        tree::write(fleet.path(0, at), at);
    }
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.stop(2);
    // Something that is sent, and gone again.
    tree::write(fleet.path(0, "d/tree/x/z"), "short-lived");
    tree::write(fleet.path(0, "short/lived"), "short-lived");
    fleet.msync(0, &["send", "-r", "d/tree"]).ok();
    fleet.msync(0, &["send", "-r", "short"]).ok();
    tree::write(fleet.path(0, "d/a"), "changed");
    tree::write(fleet.path(0, "new/x"), "new");
    fs::remove_dir_all(fleet.path(0, "d/tree")).unwrap();
    fs::remove_dir_all(fleet.path(0, "short")).unwrap();
    fs::remove_file(fleet.path(0, "gone")).unwrap();
    let from = list(&fleet, "d/a\nd/tree\nshort\ngone\nnew/x\n");
    fleet.msync(0, &["send", "--delete", "--files-from", &from]).well();
    // A path that is gone, and there again.
    fs::remove_file(fleet.path(0, "e/old")).unwrap();
    let from = list(&fleet, "e/old\n");
    fleet.msync(0, &["send", "--delete", "--files-from", &from]).well();
    tree::write(fleet.path(0, "e/old"), "there again");
    fleet.msync(0, &["send", "e/old"]).ok();
    fleet.start(2, &[]);
    eventually("it has the same files", || files(&fleet, 2) == files(&fleet, 1));
    assert_eq!(there(&fleet, 2, &["d/tree", "gone", "short", "new/x"]), ["new/x"]);
    assert_eq!(fs::read_to_string(fleet.path(2, "e/old")).unwrap(), "there again");
    eventually("nothing is missing any more", || {
        !fleet.msync(2, &["history"]).out.lines().any(|line| line.contains("here"))
    });
}

#[test]
fn what_is_back_before_it_is_deleted_is_sent_instead() {
    let mut fleet = Fleet::idle("listed-meanwhile", 2);
    let long: Vec<String> = (0..3_000).map(|n| format!("m/{n:04}")).collect();
    let back = ["a/back", "a/tree"];
    for at in ["a/back", "a/tree/1", "a/tree/2", "a/gone"] {
        tree::write(fleet.path(0, at), "old");
    }
    fleet.start(0, &[]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).well();
    fleet.stop(0);
    fleet.start(0, &["-T", "100", "-f", "1"]);
    fleet.wait_for_members();
    for at in &long {
        tree::write(fleet.path(0, at), vec![b'x'; 4_000]);
    }
    fs::remove_file(fleet.path(0, "a/back")).unwrap();
    fs::remove_file(fleet.path(0, "a/gone")).unwrap();
    fs::remove_dir_all(fleet.path(0, "a/tree")).unwrap();
    let text = names(&long.iter().map(String::as_str).collect::<Vec<_>>());
    let from = list(&fleet, text + &names(&back) + "a/gone\n");
    let sending = fleet.msync_start(0, &["send", "-r", "--delete", "--files-from", &from]);
    eventually("the first of many files", || is_there(fleet.path(1, "m/0100")));
    tree::write(fleet.path(0, "a/back"), "new");
    tree::write(fleet.path(0, "a/tree/2"), "new");
    assert!(!is_there(fleet.path(1, "m/2500")), "too late");
    sending.end().well();
    assert!(files(&fleet, 0) == files(&fleet, 1));
    assert!(is_there(fleet.path(1, "a/tree/2")) && !is_there(fleet.path(1, "a/tree/1")));
}

#[test]
fn what_is_gone_makes_room_first_and_stays_on_readonly_members() {
    let fleet = Fleet::with("listed-before", &[&[], &[], &["-r"]]);
    for host in [1, 2] {
        tree::write(fleet.path(host, "gone/x"), "gone");
    }
    tree::write(fleet.path(0, "new"), "new");
    let from = list(&fleet, "gone\nnew\n");
    let args = ["send", "--delete-before", "--json", "-t", "h1", "--files-from", &from];
    let ran = fleet.msync(0, &args);
    assert!(ran.code == Some(0) && ran.out.contains("\"deleted\":2"), "{ran:?}");
    assert_eq!(there(&fleet, 1, &["new", "gone"]), ["new"]);
    let ran = fleet.msync(0, &["send", "--delete", "--files-from", &from]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(there(&fleet, 2, &["new", "gone"]), ["gone"]);
}

#[test]
fn history_names_a_list_as_such() {
    let fleet = Fleet::new("listed-history", 2);
    tree::write(fleet.path(0, "d/new"), "new");
    tree::write(fleet.path(1, "d/old"), "old");
    let from = list(&fleet, "new\nold\n");
    fleet.msync(0, &["send", "--delete", "--files-from", &from, "d"]).well();
    for host in [0, 1] {
        eventually("the record is there", || {
            let said = fleet.msync(host, &["history"]).out;
            said.contains(" --files-from --delete d: 3 entries, complete")
        });
    }
}
