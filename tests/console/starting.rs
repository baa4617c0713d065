//! Options of the daemon that decide how it starts: what is refused, what is only said, and the
//! chroot.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};

use crate::common::process::{self, MAKUOSAN, command};
use crate::common::{Fleet, is_root, skip, tree};

#[track_caller]
fn refused(options: &[&str], why: &str) {
    let ran = process::run(command(MAKUOSAN).args(["-b", "/"]).args(options));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert_eq!(ran.err, format!("makuosan: {why}\n"));
}

#[test]
fn what_cannot_be_is_one_clear_line() {
    let missing = "No such file or directory";
    refused(&["-k", "/nowhere/key"], &format!("-k /nowhere/key: {missing}"));
    refused(&["-K", "/nowhere/password"], &format!("-K /nowhere/password: {missing}"));
    refused(&["-K", "/dev/null"], "-K /dev/null: no password in its first line");
    // An address for documentation (RFC 5737), which no host has.
    let nowhere = Ipv4Addr::new(192, 0, 2, 1).to_string();
    let why = format!("-i {nowhere}: Cannot assign requested address");
    refused(&["--check-config", "-i", &nowhere], &why);
    let why = format!("-l {nowhere}:5000: Cannot assign requested address");
    refused(&["--check-config", "-l", &nowhere], &why);
    let why = format!("-U /nowhere/socket: its directory: {missing}");
    refused(&["--check-config", "-U", "/nowhere/socket"], &why);
    refused(&["--check-config", "-u", "no-such-user"], "-u no-such-user: no such user");
    if !is_root() {
        refused(&["--check-config", "-c"], "-c: only root may change its root directory");
    }
}

#[test]
fn a_check_says_what_would_be_done_and_does_nothing() {
    let mut fleet = Fleet::new("check-config", 1);
    // Also beside the daemon that it is about.
    let check = |fleet: &Fleet| {
        process::run(
            fleet.command(0, &["--check-config", "-r", "-T", "100"]).env("MAKUOSAN_RCVBUF", "1m"),
        )
        .ok()
        .out
    };
    let text = check(&fleet);
    fleet.stop(0);
    fs::remove_dir_all(fleet.path(0, ".makuosan")).unwrap();
    assert_eq!(check(&fleet), text);
    assert!(TcpStream::connect(fleet.address(0)).is_err());
    assert!(!fleet.path(0, ".makuosan").exists());
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key:8}: ")));
        line.unwrap_or_else(|| panic!("{key}: {text}")).to_owned()
    };
    assert_eq!(value("basedir"), fleet.base(0).to_str().unwrap());
    assert_eq!(value("name"), "h0");
    let (ip, port) = (fleet.ip(0), fleet.address(0).port());
    let group = fleet.group();
    assert_eq!(value("group"), format!("{group}:{port}, interface {ip}, ttl 1"));
    assert_eq!(value("console"), format!("tcp:{ip}:{port}"));
    assert_eq!(value("buffers"), "1048576, default");
    assert_eq!(value("sendrate"), "100 Mbit/s");
    assert_eq!(value("options"), "foreground, readonly");
}

#[test]
fn in_a_chroot_the_base_is_all_there_is() {
    if !is_root() {
        return skip("-c", "only root may chroot");
    }
    let mut fleet = Fleet::idle("chroot", 2);
    fleet.start(0, &["-c"]);
    fleet.start(1, &["-c"]);
    fleet.wait_for_members();
    let pid = fleet.daemon(0).pid();
    assert_eq!(fs::read_link(format!("/proc/{pid}/root")).unwrap(), fleet.base(0));
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), fleet.base(0));
    let status = fleet.console(0).ask("status");
    let base = fleet.base(0);
    assert!(status.contains(&format!("\nchroot  : {}/\n", base.display())), "{status}");
    tree::write(fleet.path(0, "dir/a"), b"1");
    // A path as it is outside, too.
    for path in ["dir/a", fleet.path(0, "dir/a").to_str().unwrap()] {
        fleet.msync(0, &["send", path]).ok();
    }
    assert_eq!(fs::read(fleet.path(1, "dir/a")).unwrap(), b"1");
    assert_eq!(fleet.stop(0).code(), Some(0));
}
