//! What new files have of the directory that they are in, as with cp(1): a group, a default ACL, flags.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use crate::common::{Fleet, is_root, skip, tree};

const NOBODY: u32 = 65_534;
/// A group that nobody is in.
const GROUP: u32 = 12_345;

fn group_and_mode(path: &Path) -> (u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.gid(), meta.mode() & 0o7777)
}

#[test]
fn a_receiver_that_is_not_root_leaves_a_groups_directory_as_it_is() {
    if !is_root() {
        return skip("a group's directory", "only root gives files away");
    }
    let mut fleet = Fleet::idle("group-directory", 2);
    for host in [0, 1] {
        tree::write(fleet.path(host, "dir/old"), "old");
        tree::set_mtime(&fleet.path(host, "dir/old"), 1_500_000_000, 0);
        let owner = if host == 0 { 0 } else { NOBODY };
        for at in ["", "dir", "dir/old"] {
            chown(fleet.path(host, at), Some(owner), Some(if at == "dir" { GROUP } else { owner }))
                .unwrap();
        }
        tree::set_mode(&fleet.path(host, "dir"), 0o2775);
    }
    tree::write(fleet.path(0, "dir/small"), "new");
    tree::write(fleet.path(0, "dir/large"), tree::bytes(2 << 20, 1));
    tree::write(fleet.path(0, "dir/sub/file"), "new");
    tree::write(fleet.path(0, "other/file"), "new");
    tree::write(fleet.path(0, "dir/old"), "changed");
    fleet.start(0, &[]);
    fleet.start(1, &["-u", "nobody"]);
    fleet.wait_for_members();
    for _ in 0..2 {
        fleet.msync(0, &["send", "-r"]).ok();
        assert_eq!(group_and_mode(&fleet.path(1, "dir")), (GROUP, 0o2775));
        for at in ["dir/small", "dir/large", "dir/old", "dir/sub/file"] {
            assert_eq!(group_and_mode(&fleet.path(1, at)).0, GROUP, "{at}");
        }
        assert_ne!(group_and_mode(&fleet.path(1, "other/file")).0, GROUP);
    }
    let again = fleet.msync(0, &["--json", "send", "-r"]).well();
    assert!(again.out.lines().last().unwrap().contains("\"files\":0,"), "{again:?}");
    assert_eq!(fleet.staged(1), [""; 0]);
}

/// Runs a line of Python with a path; None, said aloud, if that does not work here.
fn python(what: &str, line: &str, path: &Path) -> Option<String> {
    let ran = Command::new("python3").args(["-c", line]).arg(path).output();
    match ran {
        Ok(ran) if ran.status.success() => Some(String::from_utf8(ran.stdout).unwrap()),
        Ok(ran) => {
            skip(what, String::from_utf8_lossy(&ran.stderr).lines().last().unwrap_or_default());
            None
        }
        Err(error) => {
            skip(what, &format!("python3: {error}"));
            None
        }
    }
}

#[test]
fn new_files_get_the_default_acl_of_their_directory() {
    let fleet = Fleet::new("default-acl", 2);
    fs::create_dir(fleet.path(1, "dir")).unwrap();
    // rwx for user 1000, in a mask of rwx.
    let set = "import os, struct, sys\n\
        rows = [(1, 7, 0xffffffff), (2, 7, 1000), (4, 5, 0xffffffff), (16, 7, 0xffffffff), (32, 0, 0xffffffff)]\n\
        acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *row) for row in rows)\n\
        os.setxattr(sys.argv[1], 'system.posix_acl_default', acl)";
    if python("default ACLs", set, &fleet.path(1, "dir")).is_none() {
        return;
    }
    tree::write(fleet.path(0, "dir/small"), "new");
    tree::write(fleet.path(0, "dir/large"), tree::bytes(2 << 20, 1));
    tree::write(fleet.path(0, "dir/sub/file"), "new");
    tree::write(fleet.path(0, "other/file"), "new");
    for at in ["dir/small", "dir/large"] {
        tree::set_mode(&fleet.path(0, at), 0o640);
    }
    fleet.msync(0, &["send", "-r"]).ok();
    let get = "import os, struct, sys\n\
        names = os.listxattr(sys.argv[1])\n\
        acl = os.getxattr(sys.argv[1], 'system.posix_acl_access') if 'system.posix_acl_access' in names else b''\n\
        print([row for row in struct.iter_unpack('<HHI', acl[4:]) if row[0] == 2])";
    for at in ["dir/small", "dir/large", "dir/sub/file"] {
        let got = python("default ACLs", get, &fleet.path(1, at)).unwrap();
        assert_eq!(got.trim(), "[(2, 7, 1000)]", "{at}");
    }
    assert_eq!(group_and_mode(&fleet.path(1, "dir/small")).1, 0o640);
    assert_eq!(python("", get, &fleet.path(1, "other/file")).unwrap().trim(), "[]");
    let again = fleet.msync(0, &["--json", "send", "-r"]).well();
    assert!(again.out.lines().last().unwrap().contains("\"files\":0,"), "{again:?}");
    assert_eq!(fleet.staged(1), [""; 0]);
}

#[test]
fn new_files_get_the_flags_of_their_directory() {
    let fleet = Fleet::new("flags", 2);
    fs::create_dir(fleet.path(1, "dir")).unwrap();
    let flagged = Command::new("chattr").args(["+A", "+d"]).arg(fleet.path(1, "dir")).output();
    let flags = |at: &str| {
        let ran = Command::new("lsattr").arg("-d").arg(fleet.path(1, at)).output().ok()?;
        let out = String::from_utf8(ran.stdout).ok()?;
        out.split(' ').next().map(str::to_owned).filter(|_| ran.status.success())
    };
    let has = |at: &str| flags(at).is_some_and(|flags| flags.contains('A') && flags.contains('d'));
    if !flagged.is_ok_and(|ran| ran.status.success()) || !has("dir") {
        return skip("flags of files", "chattr +Ad does not work here");
    }
    fs::write(fleet.path(1, "dir/here"), "x").unwrap();
    if !has("dir/here") {
        return skip("flags of files", "they are not inherited here");
    }
    fs::remove_file(fleet.path(1, "dir/here")).unwrap();
    tree::write(fleet.path(0, "dir/small"), "new");
    tree::write(fleet.path(0, "dir/large"), tree::bytes(2 << 20, 1));
    tree::write(fleet.path(0, "other"), "new");
    fleet.msync(0, &["send", "-r"]).ok();
    assert!(has("dir/small") && has("dir/large") && !has("other"));
}
