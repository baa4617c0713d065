//! Watches of trees in which much happens, and where the kernel tells less than there is.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::process::{MAKUOSAN, command, run, ticks};
use crate::common::{Fleet, LONG, eventually, now, preload, skip, tree, within};

/// A queue of inotify(7) that holds 16 events: what is in it beyond these is lost, as the last one says.
/// (`fs.inotify.max_queued_events` is one for the whole machine.)
const SHORT_QUEUE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>
static int queue = -1;
int inotify_init1(int flags) { return queue = syscall(SYS_inotify_init1, flags); }
ssize_t read(int fd, void *to, size_t size) {
    ssize_t got = syscall(SYS_read, fd, to, size), at = 0;
    int events = 0;
    if (fd != queue || got <= 0) return got;
    while (at < got && events++ < 16) at += sizeof(struct inotify_event) + ((struct inotify_event *)((char *)to + at))->len;
    if (at >= got) return got;
    struct inotify_event lost = {.wd = -1, .mask = IN_Q_OVERFLOW};
    memcpy((char *)to + at, &lost, sizeof lost);
    char rest[65536];
    while (syscall(SYS_read, fd, rest, sizeof rest) > 0);
    return at + sizeof lost;
}
"#;

/// A fleet whose first host watches its base directory; `makuosan` is how it is started.
fn watching(name: &str, makuosan: Command) -> Fleet {
    let mut fleet = Fleet::idle(name, 2);
    fleet.start(1, &[]);
    fleet.start_by(makuosan, 0, &["-w", ".", "--watch-delete"]);
    fleet.wait_for_members();
    fleet.msync(0, &["flush"]).ok();
    fleet
}

/// Whoever waits has the same on the other host afterwards.
#[track_caller]
fn flushed(fleet: &Fleet) {
    fleet.msync(0, &["flush"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

/// A number of the only watch.
fn figure(fleet: &Fleet, name: &str) -> u64 {
    let json = fleet.msync(0, &["status", "--json"]).ok().out;
    let rest =
        json.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("{name}: {json}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn twenty_thousand_files_in_one_go_and_a_daemon_that_stood_still_meanwhile() {
    files_in_one_go("watch-go", 20_000);
}

#[test]
#[ignore = "minutes; for its figures"]
fn two_hundred_thousand_files_in_one_go() {
    files_in_one_go("watch-all-go", 200_000);
}

fn files_in_one_go(name: &str, count: usize) {
    let mut fleet = watching(name, command(MAKUOSAN));
    let make = |top: &str, count: usize| {
        for n in 0..count {
            if n % 1_000 == 0 {
                fs::create_dir_all(fleet.path(0, format!("{top}/{}", n / 1_000))).unwrap();
            }
            fs::write(fleet.path(0, format!("{top}/{}/f{n}", n / 1_000)), n.to_string()).unwrap();
        }
    };
    make("live", count);
    let began = now();
    flushed(&fleet);
    eprintln!("{count} files: {:?} after the last", now().duration_since(began));
    // All threads stand still, and the queue of the kernel is too short for this.
    make("still", 1);
    fleet.msync(0, &["flush"]).ok();
    fleet.daemon(0).signal("STOP");
    for n in 0..6_000 {
        fs::write(fleet.path(0, format!("still/0/f{n}")), "x").unwrap();
    }
    fs::remove_file(fleet.path(0, "live/0/f7")).unwrap();
    fleet.daemon(0).signal("CONT");
    flushed(&fleet);
    let status = fleet.msync(0, &["status"]).ok().out;
    assert!(status.contains("too many events at once"), "{status}");
    tree::write(fleet.path(0, "still/0/late"), "x");
    flushed(&fleet);
}

#[test]
fn a_queue_of_sixteen_events_loses_nothing_and_does_not_loop() {
    let fleet = Fleet::idle("watch-queue-library", 1);
    let library = preload::library("a short queue", fleet.dir(), "queue", SHORT_QUEUE);
    let Some(library) = library else { return };
    let mut makuosan = command(MAKUOSAN);
    makuosan.env("LD_PRELOAD", library);
    let mut fleet = watching("watch-queue", makuosan);
    let began = now();
    for round in 0..40 {
        // What happens while nobody reads is more than the queue holds.
        fleet.daemon(0).signal("STOP");
        for n in 0..20 {
            let dir = format!("d{}/e{n}", round % 3);
            tree::write(fleet.path(0, format!("{dir}/{round}")), round.to_string());
            if round % 2 == 1 && round > 6 {
                fs::remove_file(fleet.path(0, format!("{dir}/{}", round - 6))).unwrap();
            }
        }
        fleet.daemon(0).signal("CONT");
        thread::sleep(Duration::from_millis(50));
    }
    let (took, rescans) = (now().duration_since(began), figure(&fleet, "rescans"));
    // The first, and each later one 10 s and more after the one before.
    let most = 2 + took.as_secs() / 10;
    assert!((1..=most).contains(&rescans), "{rescans} in {took:?}");
    let flush = fleet.msync(0, &["flush"]);
    assert!(flush.code == Some(0) || flush.err.contains("held back"), "{flush:?}");
    fleet.msync(0, &["watch", "release", "."]).ok();
    flushed(&fleet);
    let status = fleet.msync(0, &["status"]).ok().out;
    assert!(status.contains("too many events at once") || status.contains("released"), "{status}");
}

#[test]
fn too_few_watches_are_said_and_nothing_is_missed() {
    let options = ["-U", "--map-root-user"];
    let setting = "/proc/sys/user/max_inotify_watches";
    let probe =
        run(command("unshare").args(options).args(["sh", "-c", &format!("echo 4 >{setting}")]));
    if probe.code != Some(0) {
        return skip("too few watches", "no limits of one's own in user namespaces");
    }
    let mut unshare = command("unshare");
    unshare.args(options).args([
        "sh",
        "-c",
        &format!("echo 4 >{setting}; exec \"$@\""),
        "sh",
        MAKUOSAN,
    ]);
    let mut fleet = Fleet::idle("watch-few", 2);
    for at in ["a/b/c", "a/d", "e/f/g", "h"] {
        tree::write(fleet.path(0, format!("{at}/file")), "1");
    }
    fleet.start(1, &[]);
    fleet.start_by(unshare, 0, &["-w", ".", "--watch-delete"]);
    fleet.wait_for_members();
    flushed(&fleet);
    fleet.daemon(0).wait_for_log(
        "5 directories cannot be watched, and are searched every 60 s: \
         fs.inotify.max_user_watches has to be at least 9 for this tree",
    );
    let status = fleet.msync(0, &["status"]).ok().out;
    assert!(status.contains("max_user_watches"), "{status}");
    // The upper ones are told of at once, and of the others whoever waits is not left alone.
    tree::write(fleet.path(0, "a/now"), "2");
    eventually("what is watched is sent", || fleet.path(1, "a/now").exists());
    tree::write(fleet.path(0, "a/b/c/file"), "22");
    fs::remove_file(fleet.path(0, "e/f/g/file")).unwrap();
    tree::write(fleet.path(0, "e/f/new/er/file"), "3");
    fs::rename(fleet.path(0, "a/d"), fleet.path(0, "h/d")).unwrap();
    flushed(&fleet);
}

#[test]
fn a_tree_that_is_unpacked_and_a_repository_that_is_checked_out_a_hundred_times() {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !has("git") || !has("tar") {
        return skip("a watch of a repository", "no git or no tar");
    }
    let mut fleet = Fleet::idle("watch-git", 2);
    let (made, archive) = (fleet.dir().join("made"), fleet.dir().join("archive.tar"));
    for n in 0..2_000 {
        tree::write(made.join(format!("{}/{}/{n}", n % 13, n % 7)), n.to_string());
    }
    let tar = |args: &[&str], dir: &std::path::Path| {
        run(command("tar").args(args).arg(&archive).current_dir(dir).arg(".")).ok()
    };
    tar(&["-cf"], &made);
    fleet.start(1, &[]);
    fleet.start(0, &["-w", ".", "--watch-delete"]);
    fleet.wait_for_members();
    fs::create_dir(fleet.path(0, "tar")).unwrap();
    tar(&["-xf"], &fleet.path(0, "tar"));
    flushed(&fleet);
    let repository = fleet.path(0, "repository");
    for n in 0..200 {
        tree::write(repository.join(format!("{}/{n}", n % 10)), format!("{n} of both"));
    }
    let git = |args: &[&str]| {
        let mut git = command("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x", "-c", "gc.auto=0"]).args(args);
        let ran = run(git.current_dir(&repository));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    git(&["init", "-q", "-b", "one"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    git(&["checkout", "-q", "-b", "two"]);
    for n in 0..40 {
        tree::write(repository.join(format!("{}/{n}", n % 10)), format!("{n} of the second"));
    }
    // A directory that is a file on the other branch, one that is a link, files and directories of one alone.
    for at in ["3", "4"] {
        fs::remove_dir_all(repository.join(at)).unwrap();
    }
    tree::write(repository.join("3"), "a file");
    std::os::unix::fs::symlink("5", repository.join("4")).unwrap();
    tree::write(repository.join("only/on/two"), "2");
    fs::rename(repository.join("5/5"), repository.join("6/moved")).unwrap();
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "two"]);
    for n in 0..100 {
        git(&["checkout", "-q", ["one", "two"][n % 2]]);
        if n == 50 {
            fleet.msync(0, &["flush"]);
        }
    }
    // So much goes at once on the second branch that it may be held. And what has failed while it was changed once more
    // is believed to be there half a minute later at the earliest.
    within(LONG * 3, "a flush of all", || {
        let flush = fleet.msync(0, &["flush"]);
        if flush.err.contains("held back") {
            fleet.msync(0, &["watch", "release", "."]).ok();
        }
        (flush.code == Some(0)).then_some(())
    });
    flushed(&fleet);
}

#[test]
fn a_log_that_grows_for_ever_and_rsync_in_place_hold_nothing_up() {
    if Command::new("rsync").arg("--version").output().is_err() {
        return skip("rsync in place", "no rsync");
    }
    let fleet = watching("watch-log", command(MAKUOSAN));
    let (log, other) = (fleet.path(0, "log"), fleet.dir().join("other"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let grows = scope.spawn(|| {
            let mut log = OpenOptions::new().append(true).create(true).open(&log).unwrap();
            let mut lines = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                writeln!(log, "line {lines}").unwrap();
                lines += 1;
                thread::sleep(Duration::from_millis(2));
            }
        });
        for round in 0..3 {
            // Others do not wait for it, nor whoever waits for others.
            tree::write(fleet.path(0, "page"), round.to_string());
            let sent = || fs::read_to_string(fleet.path(1, "page")).ok() == Some(round.to_string());
            within(Duration::from_secs(5), "the page is there", || sent().then_some(()));
            tree::write(&other, tree::bytes(3_000_000 + round, round as u64));
            let mut rsync = command("rsync");
            rsync
                .args(["-a", "--inplace", "--bwlimit=4000"])
                .arg(&other)
                .arg(fleet.path(0, "in-place"));
            run(&mut rsync).ok();
        }
        within(Duration::from_secs(15), "the log is there, as far as it goes", || {
            fs::metadata(fleet.path(1, "log")).is_ok_and(|log| log.len() > 1_000).then_some(())
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        grows.join().unwrap();
    });
    flushed(&fleet);
}

#[test]
#[ignore = "two minutes; for its figures"]
fn fifty_thousand_directories_take_no_time_while_nothing_happens() {
    let mut fleet = Fleet::idle("watch-idle", 2);
    for n in 0..50_000 {
        fs::create_dir_all(fleet.path(0, format!("{}/{n}", n / 100))).unwrap();
    }
    fleet.start(1, &[]);
    fleet.start(0, &["-w", "."]);
    fleet.wait_for_members();
    flushed(&fleet);
    assert_eq!(figure(&fleet, "directories"), 50_501);
    thread::sleep(Duration::from_secs(5));
    let pid = fleet.daemon(0).pid();
    let before = ticks(pid);
    thread::sleep(Duration::from_secs(60));
    let used = ticks(pid) - before;
    eprintln!("50,501 directories: {used} hundredths of a second of processor time in a minute");
    assert!(used <= 6, "{used}");
}
