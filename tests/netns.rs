//! Real hosts: network namespaces joined by veths to a bridge, MTU 1500, with loss, a slow link, a
//! host that falls silent, and dropped privileges. Needs root, `ip`, `tc` and `iptables`; skipped,
//! aloud, without.

#[path = "netns/doctor.rs"]
mod doctor;
#[path = "netns/hosts.rs"]
mod hosts;
#[path = "netns/names.rs"]
mod names;
#[path = "netns/quiet.rs"]
mod quiet;
#[path = "netns/trees.rs"]
mod trees;

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use hosts::{Hosts, lacking, now, say};

const RECEIVERS: usize = 4;

/// One fleet at a time: the cases are bounded in time, and share the machine's cores.
static TURN: Mutex<()> = Mutex::new(());

fn turn(case: &str) -> Option<MutexGuard<'static, ()>> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    match lacking() {
        None => Some(turn),
        Some(why) => {
            say(&format!("SKIPPED: {case}: {why}"));
            None
        }
    }
}

/// How often a block is sent, in the mean, until each of `receivers` has it: the sum over k ≥ 0 of
/// the chance that k sends were not enough for all.
fn sends(loss: f64, receivers: usize) -> f64 {
    let missed = |k: i32| 1.0 - (1.0 - loss.powi(k)).powi(receivers as i32);
    1.0 + (1..100).map(missed).sum::<f64>()
}

fn all_equal(hosts: &Hosts, receivers: impl Iterator<Item = usize>) {
    for host in receivers {
        let difference = trees::difference(&hosts.base(0), &hosts.base(host), true);
        assert_eq!(difference, None, "\n{}", hosts.logs());
        assert!(trees::staged(&hosts.base(host)).is_empty(), "leftovers at host {host}");
    }
}

/// Sends a tree to four receivers that each lose `percent` of the packets. The sender's interface
/// may send `most` times the bytes of the files.
fn loss(percent: f64, big: usize, most: Option<f64>, limit: Duration) {
    let Some(_turn) = turn("loss") else { return };
    let mut hosts = Hosts::new(RECEIVERS);
    hosts.start(RECEIVERS, &[]);
    let bytes_sent = trees::fill(&hosts.base(0), big, 300) as f64;
    if percent > 0.0 {
        hosts.lose(percent);
    }
    let before = hosts.counter(0, "tx_bytes");
    let ended = hosts.msync(&["send", "-r"], limit);
    let ratio = (hosts.counter(0, "tx_bytes") - before) as f64 / bytes_sent;
    let union = sends(percent / 100.0, RECEIVERS);
    let rate = bytes_sent / ended.took.as_secs_f64() / 1e6;
    say(&format!(
        "{percent} % loss at each of {RECEIVERS}: {:.1} MB in {:.2} s ({rate:.1} MB/s), \
         {ratio:.3} × the data on the sender's wire; the union of the losses is {union:.3}, with \
         headers {:.3}",
        bytes_sent / 1e6,
        ended.took.as_secs_f64(),
        union * 1514.0 / 1424.0,
    ));
    assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
    all_equal(&hosts, 1..=RECEIVERS);
    if let Some(most) = most {
        assert!(ratio < most, "{ratio:.3} × the data on the wire");
    }
    if percent > 0.0 {
        // The loss is what it should be: of single packets, about as many as meant.
        let (packets, bytes, all) = hosts.lost(1);
        assert!(packets > 0.0 && bytes / packets <= 1500.0, "{packets} packets, {bytes} bytes");
        let share = packets / all * 100.0;
        assert!((0.5..2.0).contains(&(share / percent)), "{share:.2} % of {all} packets");
        // The sender's own figures say so, too.
        let text = hosts.msync(&["metrics"], Duration::from_secs(10)).stdout;
        let figure = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse().unwrap()
        };
        let repaired = figure("makuosan_repaired_bytes_total ") / bytes_sent;
        assert!((0.5..2.0).contains(&(repaired / (union - 1.0))), "{repaired:.3}, {union:.3}");
        let wire = figure("makuosan_wire_bytes_total{direction=\"sent\"}") / bytes_sent / ratio;
        assert!((0.9..1.01).contains(&wire), "{wire:.3} of what the interface has counted");
    }
}

#[test]
fn no_loss() {
    loss(0.0, 24 << 20, Some(1.12), Duration::from_secs(20));
}

#[test]
fn loss_of_1_percent() {
    loss(1.0, 24 << 20, Some(1.2), Duration::from_secs(20));
}

#[test]
fn loss_of_5_percent() {
    loss(5.0, 24 << 20, Some(1.45), Duration::from_secs(20));
}

#[test]
fn loss_of_20_percent() {
    loss(20.0, 8 << 20, None, Duration::from_secs(40));
}

/// Manifests of many batches, some of them with a block lost: their entries are planned and committed
/// in order all the same, and a directory may be opened in one batch and closed in the next.
#[test]
fn directories_across_batches_with_loss() {
    let Some(_turn) = turn("batches with loss") else { return };
    let mut hosts = Hosts::new(RECEIVERS);
    hosts.start(RECEIVERS, &[]);
    trees::fill_directories(&hosts.base(0), 100, 200);
    hosts.lose(5.0);
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(30));
    say(&format!("20,000 files at 5 % loss: {:.2} s", ended.took.as_secs_f64()));
    assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
    all_equal(&hosts, 1..=RECEIVERS);
}

#[test]
fn a_link_of_100_megabits() {
    let Some(_turn) = turn("a link of 100 Mbit/s") else { return };
    let mut hosts = Hosts::new(RECEIVERS);
    hosts.start(RECEIVERS, &[]);
    let bytes = trees::fill(&hosts.base(0), 24 << 20, 300) as f64;
    hosts.limit(100);
    let before = hosts.counter(0, "tx_bytes");
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(20));
    let ratio = (hosts.counter(0, "tx_bytes") - before) as f64 / bytes;
    let seconds = ended.took.as_secs_f64();
    say(&format!(
        "a link of 100 Mbit/s: {:.1} MB in {seconds:.2} s, {:.0} % of what it carries in full \
         packets; {ratio:.3} × the data on the wire",
        bytes / 1e6,
        bytes * 8.0 / seconds / (1e8 * 1424.0 / 1514.0) * 100.0,
    ));
    assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
    all_equal(&hosts, 1..=RECEIVERS);
}

#[test]
fn a_host_that_falls_silent_is_named_and_the_others_complete() {
    let Some(_turn) = turn("a silent host") else { return };
    let mut hosts = Hosts::new(RECEIVERS);
    hosts.start(RECEIVERS, &[]);
    trees::fill(&hosts.base(0), 24 << 20, 300);
    hosts.limit(100);
    let running = hosts.begin(&["send", "-r"]);
    thread::sleep(Duration::from_millis(700));
    hosts.silence(2);
    let silent = now();
    let ended = hosts.finish(running, Duration::from_secs(20));
    let took = silent.elapsed();
    say(&format!("a host falls silent: msync ends {:.1} s later", took.as_secs_f64()));
    assert_eq!(ended.status.code(), Some(2), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
    assert!(took < Duration::from_secs(15), "{took:?}");
    let named = |host: &str| {
        ended.stderr.lines().any(|line| line.starts_with("error:") && line.contains(host))
    };
    assert!(named("h2") && !named("h1") && !named("h3") && !named("h4"), "{}", ended.stderr);
    all_equal(&hosts, [1, 3, 4].into_iter());
}

#[test]
fn privileges_are_dropped_for_good() {
    let Some(_turn) = turn("-u nobody") else { return };
    let mut hosts = Hosts::new(1);
    let nobody = 65_534;
    for host in 0..=1 {
        chown(hosts.base(host), Some(nobody), Some(nobody)).unwrap();
    }
    hosts.start(1, &["-u", "nobody"]);
    for host in 0..=1 {
        let status = fs::read_to_string(format!("/proc/{}/status", hosts.pid(host))).unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        // Real, effective, saved, and that of the file system.
        assert_eq!(line("Uid:"), ["65534"; 4]);
        assert_eq!(line("Gid:").len(), 4);
        assert!(line("Gid:").iter().all(|gid| gid != "0"), "{status}");
        assert!(!line("Groups:").contains(&"0".to_owned()), "{status}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(line(set), ["0000000000000000"], "{set}");
        }
    }
    trees::fill(&hosts.base(0), 1 << 20, 40);
    let out = hosts.command(0, "chown").args(["-Rh", "nobody"]).arg(hosts.base(0)).status();
    assert!(out.unwrap().success());
    // Root's file that nobody else may read fails alone, by name.
    let secret = hosts.base(0).join("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(10));
    assert_eq!(ended.status.code(), Some(2), "{}{}", ended.stdout, ended.stderr);
    let errors: Vec<_> = ended.stderr.lines().filter(|line| line.starts_with("error:")).collect();
    assert!(matches!(errors[..], [only] if only.contains("secret")), "{}", ended.stderr);
    fs::remove_file(&secret).unwrap();
    let difference = trees::difference(&hosts.base(0), &hosts.base(1), false);
    assert_eq!(difference, None, "\n{}", hosts.logs());
    let meta = fs::metadata(hosts.base(1).join("big")).unwrap();
    assert_eq!(meta.uid(), nobody);
}

/// Not even root of another host, nor a connection by an address that another host could have.
#[test]
fn a_group_is_named_on_the_own_host_only() {
    let Some(_turn) = turn("-g from another host") else { return };
    let mut hosts = Hosts::new(1);
    hosts.start(1, &["-l", "0.0.0.0:5000"]);
    fs::write(hosts.base(0).join("f"), "x").unwrap();
    let target = format!("tcp:{}:5000", hosts.address(0));
    for host in [1, 0] {
        let mut msync = hosts.command(host, env!("CARGO_BIN_EXE_msync"));
        let out = msync.args(["-c", &target, "--json", "-g", "4242", "f"]).output().unwrap();
        let (said, words) = (String::from_utf8(out.stdout).unwrap(), out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains("\"code\":\"unknown_caller\""), "{said}");
        assert!(words.starts_with(b"error: -g 4242: it is not known which user asks for this"));
        assert!(!hosts.base(1).join("f").exists());
    }
    let ended = hosts.msync(&["-g", "4242", "f"], Duration::from_secs(10));
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(fs::metadata(hosts.base(1).join("f")).unwrap().gid(), 4_242);
}

#[test]
fn a_host_that_multicast_does_not_reach_is_named_in_a_warning() {
    let Some(_turn) = turn("multicast that is lost to one host") else { return };
    let mut hosts = Hosts::new(3);
    hosts.start(3, &[]);
    trees::fill(&hosts.base(0), 3 << 20, 20);
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(60));
    assert!(ended.status.success() && !ended.stdout.contains("warning"), "{}", ended.stdout);
    // What is sent to the group comes to all but one.
    let rule = ["-A", "INPUT", "-i", "e0", "-d", "224.0.0.0/4", "-j", "DROP"];
    assert!(hosts.command(2, "iptables").args(rule).status().unwrap().success());
    fs::write(hosts.base(0).join("more"), vec![7; 3 << 20]).unwrap();
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(120));
    assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
    all_equal(&hosts, 1..=3);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("warning")).collect();
    let [line] = warnings[..] else { panic!("{said}") };
    assert!(line.ends_with("and were sent again: see members -v"), "{line}");
    assert!(line.contains(&format!("({})", hosts.address(2))), "{line}");
}

/// Waits until something holds, no longer than a second.
#[track_caller]
fn within_a_second(hosts: &Hosts, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(1), "{what}: {}", hosts.logs());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_interface_that_is_made_anew_is_joined_within_a_second() {
    let Some(_turn) = turn("an interface that is made anew") else { return };
    let mut hosts = Hosts::new(2);
    hosts.start(2, &[]);
    let count = |hosts: &Hosts, host: usize, line: &str| hosts.log(host).matches(line).count();
    for host in [0, 1] {
        let joined = count(&hosts, host, "joined 224.");
        hosts.unplug(host);
        let gone = "cannot reach 224.0.0.108:5000 any more";
        within_a_second(&hosts, "it is gone", || count(&hosts, host, gone) == 1);
        hosts.plug(host);
        within_a_second(&hosts, "it is back", || count(&hosts, host, "joined 224.") == joined + 1);
        assert_eq!(count(&hosts, host, gone), 1, "{}", hosts.logs());
        fs::write(hosts.base(0).join(format!("file{host}")), vec![7; 500_000]).unwrap();
        let ended = hosts.msync(&["send", "-r"], Duration::from_secs(20));
        assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
        all_equal(&hosts, 1..=2);
    }
    // A link that is down is told as well.
    let link = |state: &str| {
        let mut command = hosts.command(1, "ip");
        assert!(command.args(["link", "set", "e0", state]).status().unwrap().success());
    };
    link("down");
    within_a_second(&hosts, "it is down", || hosts.log(1).contains("Network is down"));
    link("up");
    within_a_second(&hosts, "it is up", || {
        hosts.log(1).rfind("joined 224.") > hosts.log(1).rfind("Network is down")
    });
}

#[test]
fn an_own_mtu_that_is_lowered_is_noticed_and_what_is_refused_is_not_counted() {
    let Some(_turn) = turn("an MTU that is lowered") else { return };
    let mut hosts = Hosts::new(2);
    hosts.start(2, &["-T", "40"]);
    fs::write(hosts.base(0).join("first"), vec![7; 100_000]).unwrap();
    assert!(hosts.msync(&["send", "-r"], Duration::from_secs(20)).status.success());
    // In the middle of a transfer: it ends, with a line that says why.
    let size = 10 << 20;
    fs::write(hosts.base(0).join("long"), vec![9; size]).unwrap();
    let before = hosts.counter(0, "tx_bytes");
    let sending = hosts.begin(&["send", "-r", "--json"]);
    thread::sleep(Duration::from_millis(700));
    hosts.set_mtu(0, 1_000);
    let ended = hosts.finish(sending, Duration::from_secs(20));
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}{}", hosts.logs());
    assert!(said.contains("the MTU of this host's interface was lowered"), "{said}");
    assert!(!said.contains("check MTU and firewall"), "{said}");
    let wire = said.split("\"wire\":").nth(1).expect("a total");
    let wire: u64 = wire.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    let sent = hosts.counter(0, "tx_bytes") - before;
    say(&format!("{wire} bytes counted, {sent} on the wire"));
    assert!(wire <= sent && sent < size as u64, "{wire} counted, {sent} sent");
    within_a_second(&hosts, "it is in the log", || {
        hosts.log(0).contains("the MTU of the interface is 1000 now; it was 1500")
    });
    // And the next one is of smaller blocks.
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(30));
    assert!(ended.status.success(), "{}{}{}", ended.stdout, ended.stderr, hosts.logs());
    all_equal(&hosts, 1..=2);
}

/// What a run of `msync` has said, the lines that hold these words.
fn lines(said: &str, words: &str) -> Vec<String> {
    said.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

/// Sends, which must work; gives what was said, and how many times the data was on the wire.
#[track_caller]
fn send(hosts: &Hosts, args: &[&str], size: usize) -> (String, f64) {
    let before = hosts.counter(0, "tx_bytes");
    let ended = hosts.msync(args, Duration::from_secs(60));
    let ratio = (hosts.counter(0, "tx_bytes") - before) as f64 / size as f64;
    let said = format!("{}{}", ended.stdout, ended.stderr);
    say(&format!("{args:?}: {ratio:.2} × the data, {:.1} s, {said}", ended.took.as_secs_f64()));
    assert!(ended.status.success(), "{args:?}: {said}{}", hosts.logs());
    (said, ratio)
}

/// What they got before they were served again may be dropped a moment later.
#[track_caller]
fn all_served(hosts: &Hosts, receivers: RangeInclusive<usize>) {
    let dropped = |host| trees::staged(&hosts.base(host)).is_empty();
    within_a_second(hosts, "it is dropped", || receivers.clone().all(dropped));
    all_equal(hosts, receivers);
}

const SWALLOWS: &str = "large packets do not reach";
const NO_DATA: &str = "receives control but no data: check MTU and firewall";

#[test]
fn a_host_that_no_block_reaches_is_named_and_costs_next_to_nothing() {
    let Some(_turn) = turn("a link that swallows all blocks") else { return };
    for receivers in [1, 3] {
        let mut hosts = Hosts::new(receivers);
        hosts.start(receivers, &[]);
        hosts.swallow_over(1, 500);
        let size = 3 << 20;
        fs::write(hosts.base(0).join("file"), vec![7; size]).unwrap();
        let before = hosts.counter(0, "tx_bytes");
        let ended = hosts.msync(&["send", "-r"], Duration::from_secs(60));
        let ratio = (hosts.counter(0, "tx_bytes") - before) as f64 / size as f64;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        say(&format!("no block arrives, {receivers} receivers: {ratio:.2} × the data, {said}"));
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert_eq!(lines(&said, NO_DATA).len(), 1, "{said}");
        assert!(!said.contains("warning"), "{said}");
        let share = if receivers > 1 { 1.12 } else { 0.0 };
        assert!(ratio < share + 0.3, "{ratio:.2} × the data on the wire");
        all_equal(&hosts, 2..=receivers);
    }
}

#[test]
fn hosts_that_only_small_packets_reach_are_served_with_these() {
    let Some(_turn) = turn("links that swallow large packets") else { return };
    let key = Path::new("/dev/shm").join(format!("mkt{}-key", std::process::id()));
    fs::write(&key, "correct horse battery staple\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for options in [&[][..], &["-k", key.to_str().unwrap()]] {
        let mut hosts = Hosts::new(3);
        hosts.start(3, options);
        hosts.swallow_over(1, 1_000);
        hosts.swallow_over(2, 1_300);
        let (base, size) = (hosts.base(0), 3 << 20);
        // These arrive with the first transfer.
        (0..5).for_each(|at| fs::write(base.join(format!("a{at}")), "small").unwrap());
        fs::write(base.join("big"), vec![7; size]).unwrap();
        // What is found here is said once.
        let socket = UnixListener::bind(base.join("z")).unwrap();
        let (said, ratio) = send(&hosts, &["send", "-r"], size);
        assert_eq!(lines(&said, "unix domain socket").len(), 1, "{said}");
        drop(socket);
        fs::remove_file(base.join("z")).unwrap();
        all_served(&hosts, 1..=3);
        for (host, bytes) in [(1, 548), (2, 1_200)] {
            let line = format!(
                "warning: {SWALLOWS} h{host} ({}): it was served again with packets of {bytes} bytes: \
                 check the MTU on the way",
                hosts.address(host)
            );
            assert_eq!(lines(&said, &format!("h{host} ")), [line], "{said}");
        }
        assert!(!said.contains("error") && lines(&said, "warning").len() == 2, "{said}");
        // Once for each size.
        assert!(ratio < 1.12 + 1.12 + 1.25, "{ratio:.2} × the data on the wire");
        // Where it makes no difference, nothing is served again.
        fs::write(base.join("a1"), "other").unwrap();
        let (said, _) = send(&hosts, &["a1"], size);
        assert!(!said.contains("warning"), "{said}");
        all_served(&hosts, 1..=3);
        // Each host is counted once.
        fs::write(base.join("a0"), "changed").unwrap();
        fs::write(base.join("big"), vec![8; size]).unwrap();
        let (said, _) = send(&hosts, &["send", "-r", "--json"], size);
        all_served(&hosts, 1..=3);
        let (reports, totals) =
            (lines(&said, "\"type\":\"host\""), lines(&said, "\"type\":\"total\""));
        assert_eq!((reports.len(), totals.len()), (3, 1), "{said}");
        let count = format!("\"files\":2,\"bytes\":{},\"unchanged\":4,\"deleted\":0,", size + 7);
        for report in &reports {
            assert!(report.contains("\"status\":\"ok\"") && report.contains(&count), "{report}");
        }
        let total = format!("\"hosts\":3,\"failed\":0,{count}\"errors\":0,");
        assert!(totals[0].contains(&total), "{totals:?}");
    }
    fs::remove_file(&key).unwrap();
}

#[test]
fn what_else_a_send_does_reaches_them_too() {
    let Some(_turn) = turn("links that swallow large packets, and options") else { return };
    let mut hosts = Hosts::new(2);
    hosts.start(2, &[]);
    hosts.swallow_over(1, 1_300);
    let (base, size) = (hosts.base(0), 1 << 20);
    // The names alone take a large packet.
    fs::create_dir(base.join("d")).unwrap();
    (0..300).for_each(|at| fs::write(base.join(format!("d/file{at}")), "small").unwrap());
    let named = "(dryrun) [update:d/file7]";
    let (said, _) = send(&hosts, &["send", "-rn"], size);
    assert_eq!(lines(&said, named).len(), 1, "{said}");
    assert!(!hosts.base(1).join("d").exists() && !hosts.base(2).join("d").exists());
    send(&hosts, &["send", "-r"], size);
    for option in ["--delete", "--delete-before"] {
        fs::write(base.join("big"), vec![option.len() as u8; size]).unwrap();
        for host in 1..=2 {
            fs::write(hosts.base(host).join("d/extra"), "x").unwrap();
        }
        let (said, _) = send(&hosts, &["send", "-rv", option], size);
        all_served(&hosts, 1..=2);
        let once = [SWALLOWS, "update h1:big", "update h2:big", "delete h1:", "delete h2:"];
        let counts = once.map(|words| lines(&said, words).len());
        assert_eq!(counts, [1; 5], "{said}");
    }
    send(&hosts, &["check", "-r"], size);
    fs::write(hosts.base(1).join("d/file7"), "SMALL").unwrap();
    let ended = hosts.msync(&["check", "-r"], Duration::from_secs(60));
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!((ended.status.code(), lines(&said, "file7").len()), (Some(2), 1), "{said}");
    // One that is dead costs its timeout once, and is not tried again.
    fs::write(base.join("big"), vec![1; size]).unwrap();
    hosts.silence(2);
    let ended = hosts.msync(&["send", "-r"], Duration::from_secs(60));
    let said = format!("{}{}", ended.stdout, ended.stderr);
    say(&format!("a dead one beside it: {:.1} s, {said}", ended.took.as_secs_f64()));
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert_eq!((lines(&said, "error").len(), lines(&said, SWALLOWS).len()), (1, 1), "{said}");
    assert!(lines(&said, "error")[0].contains("h2"), "{said}");
    all_served(&hosts, 1..=1);
    assert!(ended.took < Duration::from_secs(18), "{:?}", ended.took);
    // Whoever asked for it goes while it is served again: nothing is left there.
    fs::write(base.join("big"), vec![2; 64 << 20]).unwrap();
    let noticed = || hosts.log(0).matches("large packets do not reach h1 (").count();
    let (staged, before) = (|| trees::staged(&hosts.base(1)).len(), noticed());
    let (mut child, _) = hosts.begin(&["-t", "h1", "big"]);
    let begun = now();
    while noticed() == before || staged() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", hosts.logs());
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    within_a_second(&hosts, "it is dropped", || staged() == 0);
    assert_eq!(fs::metadata(hosts.base(1).join("big")).unwrap().len(), size as u64);
}
