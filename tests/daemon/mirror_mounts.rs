//! Mirrors with other mounts in them: what is not mounted is not deleted, and nothing is written in its place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::process::{Ran, command, in_mounts, run};
use crate::common::{Fleet, eventually, mounts::inside, tree};

const MIRROR: &[&str] = &["--mirror", "."];
const FIRST: &str = "--first";

/// Two hosts; the first of them in a mount namespace of its own, with what `setup` mounts.
struct Two {
    fleet: Fleet,
    setup: String,
    options: &'static [&'static str],
}

impl Two {
    /// None where nothing can be mounted.
    fn new(name: &str, setup: &str, options: &'static [&'static str]) -> Option<Two> {
        let mut fleet = Fleet::idle(name, 2);
        fs::create_dir(fleet.dir().join("disk")).unwrap();
        let by = in_mounts(name, setup, fleet.dir())?;
        fleet.start_by(by, 0, &[options, &[FIRST]].concat());
        fleet.start(1, options);
        let two = Two { fleet, setup: setup.to_owned(), options };
        (0..2).for_each(|at| two.wait_for_row(at, ": settled"));
        Some(two)
    }

    /// Starts the first host again, with what this mounts.
    fn restart(&mut self, setup: &str) {
        self.fleet.kill(0);
        let by = in_mounts("once more", setup, self.fleet.dir()).unwrap();
        self.fleet.start_by(by, 0, self.options);
    }

    /// A path as the first host sees it.
    fn here(&mut self, path: &str) -> PathBuf {
        inside(&mut self.fleet, 0, "h0").join(path)
    }

    fn there(&self, path: &str) -> PathBuf {
        self.fleet.path(1, path)
    }

    /// Runs a script where the first host sees its mounts; `$1` is the directory of all. What the daemon is using at this
    /// moment is tried again.
    fn mounts(&mut self, script: &str) {
        let pid = self.fleet.daemon(0).pid().to_string();
        let script = &format!(
            "umount() {{ until command umount \"$@\" 2>/dev/null; do sleep 0.1; done; }}; {script}"
        );
        let mut by = command("nsenter");
        by.args(["-t", &pid, "-m", "--", "sh", "-ec", script, "sh"]).arg(self.fleet.dir());
        run(&mut by).ok();
    }

    fn wait_for_row(&self, at: usize, text: &str) {
        eventually(&format!("{text:?} on h{at}"), || self.row(at).contains(text));
    }

    fn row(&self, at: usize) -> String {
        let Ran { out, .. } = self.fleet.msync(at, &["mirror"]);
        out
    }

    /// What is written on the second host arrives on the first: all before it did, too.
    fn sync(&mut self, name: &str) {
        tree::write(self.there(name), name);
        let here = self.here(name);
        eventually("a change arrives", || here.exists());
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn a_mount_below_a_mirror_is_part_of_it_and_is_held_while_it_is_away() {
    let setup = "mkdir -p \"$1/h0/m\" && mount --bind \"$1/disk\" \"$1/h0/m\"";
    let Some(mut two) = Two::new("mirror-mounts", setup, MIRROR) else { return };
    let disk = two.fleet.dir().join("disk");
    for n in 0..5 {
        tree::write(two.here(&format!("m/d/{n}")), "of h0");
    }
    tree::write(two.here("m/both"), "of h0");
    tree::write(two.here("plain"), "of h0");
    let there = |two: &Two, name: &str| read(two.there(name));
    eventually("all of it travels", || {
        (0..5).all(|n| there(&two, &format!("m/d/{n}")).is_some())
            && there(&two, "m/both").is_some()
    });
    // What arrives is put on it, and so is what that replaces.
    tree::write(two.there("m/both"), "of host 1");
    fs::remove_file(two.there("m/d/0")).unwrap();
    eventually("changes of the other arrive on it", || {
        read(disk.join("both")).as_deref() == Some("of host 1") && !disk.join("d/0").exists()
    });
    assert!(
        disk.join(".makuosan/trash").exists() && !two.fleet.path(0, ".makuosan/trash").exists()
    );
    // Away.
    two.mounts("umount \"$1/h0/m\"");
    two.wait_for_row(0, "  m: held: it is not mounted: msync mirror release m");
    tree::write(two.there("m/new"), "while it was away");
    tree::write(two.there("m/both"), "while it was away");
    fs::remove_file(two.there("m/d/1")).unwrap();
    two.sync("flows");
    assert_eq!(fs::read_dir(two.here("m")).unwrap().count(), 0, "nothing is put where it was");
    for n in 2..5 {
        assert!(two.there(&format!("m/d/{n}")).exists());
    }
    // A restart does not make it forget.
    two.restart("true");
    two.wait_for_row(0, "m: held: it is not mounted");
    two.sync("flows on");
    assert!((2..5).all(|n| two.there(&format!("m/d/{n}")).exists()));
    assert_eq!(fs::read_dir(two.here("m")).unwrap().count(), 0);
    // What is changed on it meanwhile counts, and all goes on by itself.
    tree::write(disk.join("d/2"), "changed elsewhere");
    fs::remove_file(disk.join("d/3")).unwrap();
    two.mounts("mount --bind \"$1/disk\" \"$1/h0/m\"");
    eventually("it goes on", || {
        read(disk.join("new")).as_deref() == Some("while it was away")
            && read(disk.join("both")).as_deref() == Some("while it was away")
            && !disk.join("d/1").exists()
            && there(&two, "m/d/2").as_deref() == Some("changed elsewhere")
            && !two.there("m/d/3").exists()
    });
    assert!(!two.row(0).contains("held"), "{}", two.row(0));
    assert!(disk.join("d/4").exists() && two.there("m/d/4").exists());
    let setup = two.setup.clone();
    two.restart(&setup);
    two.sync("m/last");
    assert!(disk.join("last").exists());
}

#[test]
fn a_mirror_on_a_mount_of_its_own_waits_for_it_and_goes_on_by_itself() {
    let setup = "mkdir -p \"$1/h0/data\" && mount --bind \"$1/disk\" \"$1/h0/data\"";
    let options: &[&str] = &["--mirror", "data"];
    let Some(mut two) = Two::new("mirror-root-mount", setup, options) else { return };
    let disk = two.fleet.dir().join("disk");
    for n in 0..3 {
        tree::write(two.here(&format!("data/{n}")), "of h0");
    }
    let all = |two: &Two| (0..3).all(|n| two.there(&format!("data/{n}")).exists());
    eventually("all of it travels", || all(&two));
    // Nothing, an empty file system with the same numbers, and one that is not empty: while it runs, and at a start.
    let stands_still = |two: &mut Two, mounted: &str| {
        two.wait_for_row(0, "data: held: its directory is another one than before");
        let name = format!("data/{mounted}");
        tree::write(two.there(&name), mounted);
        std::thread::sleep(std::time::Duration::from_millis(2_500));
        assert!(all(two), "{mounted}");
        assert!(!two.here(&name).exists() && !two.there("data/other").exists(), "{mounted}");
    };
    two.mounts("umount \"$1/h0/data\"");
    stands_still(&mut two, "unmounted");
    two.mounts("mount --bind \"$1/disk\" \"$1/h0/data\"");
    eventually("it goes on", || disk.join("unmounted").exists());
    two.mounts("mount -t tmpfs tmpfs \"$1/h0/data\" && echo 1 >\"$1/h0/data/other\"");
    stands_still(&mut two, "mounted over");
    two.mounts("umount \"$1/h0/data\"");
    eventually("it goes on", || disk.join("mounted over").exists());
    two.restart("true");
    stands_still(&mut two, "unmounted at a start");
    two.mounts("mount -t tmpfs tmpfs \"$1/h0/data\"");
    stands_still(&mut two, "another at a start");
    // What is changed on it meanwhile counts.
    tree::write(disk.join("0"), "changed elsewhere");
    fs::remove_file(disk.join("1")).unwrap();
    two.mounts("umount \"$1/h0/data\" && mount --bind \"$1/disk\" \"$1/h0/data\"");
    eventually("it goes on after all", || {
        disk.join("another at a start").exists()
            && read(two.there("data/0")).as_deref() == Some("changed elsewhere")
            && !two.there("data/1").exists()
    });
    two.wait_for_row(0, "data: settled");
    assert!(two.there("data/2").exists() && disk.join("2").exists());
    assert_eq!(fs::read_dir(two.fleet.path(0, "data")).unwrap().count(), 0);
}
