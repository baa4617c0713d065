//! Devices and other things that are no files: which are made, and that none is ever opened.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::process::{self, MAKUOSAN, command};
use crate::common::{Fleet, is_root, now, skip, tree};

fn mknod(path: impl AsRef<Path>, kind: &[&str]) -> bool {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    let made = Command::new("mknod").arg(path.as_ref()).args(kind).output();
    made.is_ok_and(|made| made.status.success())
}

const NULL: [&str; 3] = ["c", "1", "3"];

#[test]
fn a_member_can_refuse_devices_and_takes_the_rest() {
    let fleet = Fleet::with("no-devices", &[&[], &["--no-devices"], &[], &["--no-devices", "-r"]]);
    if !is_root() || !mknod(fleet.path(0, "d/null"), &NULL) {
        return skip("devices", "mknod is not allowed");
    }
    assert!(mknod(fleet.path(0, "d/disk"), &["b", "259", "70000"]));
    assert!(mknod(fleet.path(0, "same"), &NULL) && mknod(fleet.path(1, "same"), &NULL));
    assert!(mknod(fleet.path(0, "mode"), &NULL) && mknod(fleet.path(1, "mode"), &NULL));
    assert!(
        mknod(fleet.path(0, "other"), &NULL) && mknod(fleet.path(1, "other"), &["c", "1", "5"])
    );
    tree::set_mode(&fleet.path(0, "mode"), 0o666);
    tree::set_mode(&fleet.path(1, "mode"), 0o600);
    for at in 0..2 {
        tree::set_mtime(&fleet.path(at, "same"), 1_700_000_000, 0);
        tree::set_mode(&fleet.path(at, "same"), 0o600);
    }
    assert!(mknod(fleet.path(0, "fifo"), &["p"]));
    tree::write(fleet.path(0, "d/file"), "x");
    // A file is no device, wherever it stands.
    tree::write(fleet.path(1, "d/null"), "a file");
    assert!(mknod(fleet.path(1, "d/file"), &NULL));
    let refused = ["d/disk", "d/null", "mode", "other"];
    let line = |path: &str| format!("error: Device refused (--no-devices) h1:{path}");
    let want: Vec<String> = refused.into_iter().map(line).collect();
    for options in [&["-n"][..], &[], &["--delete"]] {
        let ran = fleet.msync(0, &[&["-t", "h1", "send", "-r"], options].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let mut errors = ran.errors();
        errors.sort_unstable();
        assert_eq!(errors, want, "{options:?}");
    }
    assert_eq!(fs::read(fleet.path(1, "d/file")).unwrap(), b"x");
    assert_eq!(fs::read(fleet.path(1, "d/null")).unwrap(), b"a file");
    assert!(!fleet.path(1, "d/disk").exists());
    assert!(fs::metadata(fleet.path(1, "fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(fleet.path(1, "mode")).unwrap().mode() & 0o777, 0o600);
    let minor = |at, name| fs::metadata(fleet.path(at, name)).unwrap().rdev() & 0xff;
    assert_eq!((minor(1, "other"), minor(1, "same")), (5, 3));
    // All others take them, as ever, and who is read-only says that.
    fleet.msync(0, &["-t", "h2", "send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    let ran = fleet.msync(0, &["-t", "h3", "send", "-r"]);
    assert!(ran.err.contains("h3 is read-only") && !ran.err.contains("refused"), "{ran:?}");
    // It can send its own.
    assert!(mknod(fleet.path(1, "mine"), &NULL));
    fleet.msync(1, &["-t", "h2", "send", "mine"]).ok();
    assert_eq!(minor(2, "mine"), 3);
}

#[test]
fn a_check_and_the_help_name_it() {
    let fleet = Fleet::idle("no-devices-check", 1);
    let ran = process::run(&mut fleet.command(0, &["--no-devices", "--check-config"])).ok();
    assert!(ran.out.contains("options : foreground, no-devices\n"), "{ran:?}");
    let help = process::run(command(MAKUOSAN).arg("--help")).ok().out;
    assert!(help.contains("--no-devices"), "{help}");
}

/// A path at which there is now a file, now a FIFO, until it is dropped.
struct Swapping {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
    opened: Arc<AtomicBool>,
    fifo: PathBuf,
}

impl Swapping {
    fn start(fleet: &Fleet, at: usize) -> Swapping {
        let path = fleet.path(at, "f");
        let kept = fleet.dir().join(format!("kept{at}"));
        fs::create_dir(&kept).unwrap();
        let (file, fifo) = (kept.join("file"), kept.join("fifo"));
        tree::write(&file, tree::bytes(100_000, at as u64));
        assert!(mknod(&fifo, &["p"]));
        // To open it for writing is to wait for somebody who reads.
        let (opened, writer) = (Arc::new(AtomicBool::new(false)), fifo.clone());
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::clone(&opened));
        let waits = thread::spawn(move || {
            drop(OpenOptions::new().write(true).open(writer).unwrap());
            seen.store(true, Ordering::SeqCst);
        });
        let (stopped, other) = (Arc::clone(&stop), fifo.clone());
        let swaps = thread::spawn(move || {
            let next = kept.join("next");
            while !stopped.load(Ordering::SeqCst) {
                for (what, span) in [(&file, 30), (&other, 12)] {
                    fs::hard_link(what, &next).unwrap();
                    fs::rename(&next, &path).unwrap();
                    let _ = fs::remove_file(&next);
                    thread::sleep(Duration::from_millis(span));
                }
            }
        });
        Swapping { stop, threads: vec![swaps, waits], opened, fifo }
    }

    fn was_opened(&self) -> bool {
        self.opened.load(Ordering::SeqCst)
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Lets the writer go.
        let reader = OpenOptions::new().read(true).write(true).open(&self.fifo);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        drop(reader);
    }
}

#[test]
fn what_takes_a_files_place_is_never_opened() {
    let fleet = Fleet::new("swapped", 2);
    let there = [Swapping::start(&fleet, 0), Swapping::start(&fleet, 1)];
    let end = now() + Duration::from_secs(4);
    let mut sent = 0;
    while now() < end {
        for how in [&["-I"][..], &["--checksum"]] {
            fleet.msync(0, &[&["send", "f"], how].concat());
            sent += 1;
        }
        fleet.msync(0, &["check", "f"]);
    }
    let opened = [&there[0], &there[1]].map(Swapping::was_opened);
    assert_eq!(opened, [false, false], "a FIFO was opened, in {sent} transfers");
}

#[test]
fn a_key_that_is_a_fifo_or_a_device_has_nobody_wait() {
    let fleet = Fleet::idle("fifo-key", 1);
    let dir = fleet.dir();
    assert!(mknod(dir.join("fifo"), &["p"]));
    symlink("fifo", dir.join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    for option in ["-k", "-K"] {
        for (name, why) in [
            ("fifo", "is not a regular file"),
            ("link", "is not a regular file"),
            ("socket", "is not a regular file"),
            (".", "is a directory"),
        ] {
            let path = dir.join(name);
            for extra in [&[][..], &["--check-config"]] {
                let options = [&[option, path.to_str().unwrap()], extra].concat();
                let ran = process::run(&mut fleet.command(0, &options));
                let line = format!("makuosan: {option} {}: {why}\n", path.display());
                assert_eq!((ran.code, ran.err), (Some(1), line), "{name}");
            }
        }
    }
}
