//! The examples of the manual pages, typed as they stand there. Needs root and namespaces; skipped,
//! aloud, without.

#[allow(unused_imports)]
mod common;

use std::fs;
use std::path::PathBuf;

use common::place::TempDir;
use common::process::{self, MAKUOSAN, MSYNC};
use common::sandbox::Sandbox;
use common::{eventually, skip};

/// The lines to type in the section EXAMPLES of a page, by the block that they stand in, without
/// their prompts.
fn examples(page: &str) -> Vec<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("man").join(page);
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n.Sh EXAMPLES\n").nth(1).expect("no section EXAMPLES");
    let mut blocks = vec![Vec::new()];
    for line in section.split("\n.Sh ").next().unwrap().lines() {
        let line = line.strip_prefix(".Dl ").unwrap_or(line).replace("\\e", "\\");
        if line.starts_with(".Bd") || line == ".Pp" {
            blocks.push(Vec::new());
        }
        for prompt in ["$ ", "# "] {
            blocks.last_mut().unwrap().extend(line.strip_prefix(prompt).map(str::to_owned));
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// Shell code that gives a sandbox both programs, an interface with the address 10.1.0.7, and a `/tmp`
/// of its own.
fn setup() -> String {
    format!(
        "mkdir /run/bin && ln -s '{MAKUOSAN}' /run/bin/makuosan && ln -s '{MSYNC}' /run/bin/msync\n\
         ip link add inner type veth peer name outer && ip link set outer up && \
          ip addr add 10.1.0.7/16 dev inner && ip link set inner up\n\
         ip route add default via 10.1.0.1\n"
    )
}

/// Types a line; what it says.
#[track_caller]
fn paste(sandbox: &Sandbox, line: &str) -> String {
    let ran = process::run(
        sandbox
            .command("sh")
            .args(["-c", line])
            .env("PATH", format!("/run/bin:{}", std::env::var("PATH").unwrap_or_default()))
            .current_dir("/"),
    );
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    ran.out
}

#[test]
fn those_of_the_daemon() {
    let blocks = examples("makuosan.8");
    assert!(blocks.len() >= 5, "{blocks:?}");
    for (at, block) in blocks.iter().enumerate() {
        // Ends the daemon of the block before it.
        if block[0].starts_with("kill ") || block[0].ends_with(" --check-config") {
            continue;
        }
        let dir = TempDir::new("examples");
        let Some(sandbox) = Sandbox::new("examples of the daemon", dir.path(), &setup()) else {
            return;
        };
        // A /tmp of its own has another name: the programs may be below this one.
        sandbox.sh("mount -t tmpfs tmpfs /mnt && mkdir /mnt/tmp").ok();
        let needs_nc = block.iter().any(|line| line.contains("| nc "));
        if needs_nc && sandbox.sh("command -v nc").code != Some(0) {
            skip("an example", "no nc");
            continue;
        }
        let mut said = String::new();
        for line in block {
            let line = line.replace("/tmp/", "/mnt/tmp/");
            if line.ends_with(" members") {
                // On a machine that has much to do, the second before it may be too short.
                eventually("members", || paste(&sandbox, &line).contains("Total: 2 members"));
            } else {
                said += &paste(&sandbox, &line);
            }
        }
        if needs_nc {
            assert!(said.contains("basedir : /srv/files/"), "{said}");
        }
        // What may follow it.
        for next in blocks[at + 1..].iter().take_while(|next| next[0].starts_with("kill ")) {
            paste(&sandbox, &next[0]);
            eventually("its end", || sandbox.sh("test -e /run/makuosan.pid").code == Some(1));
        }
        if let Some(check) = blocks.iter().find(|block| block[0].ends_with(" --check-config")) {
            if at == 0 {
                assert!(paste(&sandbox, &check[0]).contains("basedir : /srv/www"));
            }
        }
    }
}

#[test]
fn those_of_msync() {
    let dir = TempDir::new("examples");
    let Some(sandbox) = Sandbox::new("examples of msync", dir.path(), &setup()) else { return };
    sandbox
        .sh("for host in www web3 web4; do mkdir /srv/$host; done
            mkdir /run/release && echo new >/run/release/new && cd /run/release && tar -cf /release.tar new
            cd /srv/www; mkdir -p etc htdocs/log img/sub; echo hello >etc/motd
            echo index >htdocs/index.html; echo line >htdocs/log/a.log
            echo png >img/sub/a.png; echo text >img/sub/a.txt")
        .ok();
    for (at, name) in ["www", "web3", "web4"].into_iter().enumerate() {
        let console = if at == 0 { "-l 127.0.0.1 -U /run/makuosan.sock" } else { "" };
        let start = format!("makuosan -b /srv/{name} -i 127.0.0.{} -N {name} {console}", at + 2);
        paste(&sandbox, &start);
    }
    eventually("members", || paste(&sandbox, "msync members").contains("Total: 2 members"));
    let blocks = examples("msync.1");
    let lines: Vec<&String> = blocks.iter().flatten().collect();
    assert!(lines.len() >= 7, "{lines:?}");
    for line in lines {
        if line.starts_with("msync watch ") {
            // It goes on until it is ended.
            paste(&sandbox, &format!("{line} >/run/watched 2>&1 &"));
            eventually("a watch", || paste(&sandbox, "msync status").contains("watching: "));
            continue;
        }
        if line.starts_with("msync conflicts ") {
            // That needs edits made apart, which those of mirrors have (tests/daemon/mirroring.rs).
            continue;
        }
        let said = paste(&sandbox, line);
        if line.ends_with(" members") {
            assert!(said.contains("Total: 2 members"), "{said}");
        }
    }
    paste(
        &sandbox,
        "diff -r --no-dereference -x .makuosan /srv/www /srv/web4 && test -e /srv/web4/htdocs/new",
    );
}
