//! Daemons that are killed while somebody makes up for what it missed: who sends, who gives, and who has just
//! returned.

use std::fs;
use std::time::Duration;

use makuosan::engine::rng::Rng;

use crate::common::{Fleet, tree, within};

const HOSTS: usize = 4;
/// How many histories each run of the suite tries.
const HISTORIES: u64 = 3;
/// How long may pass until all are alike again.
const LIMIT: Duration = Duration::from_secs(90);

/// A fleet in which each host sends a directory of its own.
struct History {
    fleet: Fleet,
    rng: Rng,
    is_up: [bool; HOSTS],
    /// The last transfer of its directory has not come to its end.
    is_open: [bool; HOSTS],
    kills: u32,
}

impl History {
    fn new(seed: u64) -> Self {
        let (fleet, rng) = (Fleet::new("killed-catching-up", HOSTS), Rng::new(seed));
        History { fleet, rng, is_up: [true; HOSTS], is_open: [false; HOSTS], kills: 0 }
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n as u64) as usize
    }

    fn another(&mut self, host: usize) -> usize {
        (host + 1 + self.below(HOSTS - 1)) % HOSTS
    }

    fn start(&mut self, host: usize) {
        if !std::mem::replace(&mut self.is_up[host], true) {
            self.fleet.start(host, &[]);
        }
    }

    fn kill(&mut self, host: usize) {
        if std::mem::replace(&mut self.is_up[host], false) {
            self.fleet.kill(host);
            self.kills += 1;
        }
    }

    fn sleep(&mut self, most: usize) {
        let millis = self.below(most) as u64;
        std::thread::sleep(Duration::from_millis(millis));
    }

    fn edit(&mut self, host: usize) {
        for _ in 0..5 + self.below(40) {
            let file = format!("d{host}/{}/f{}", self.below(3), self.below(16));
            let path = self.fleet.path(host, file);
            match self.below(4) {
                0 if path.exists() => fs::remove_file(path).unwrap(),
                _ => {
                    let size = [10, 1_000, 60_000][self.below(3)];
                    tree::write(path, tree::bytes(size, self.rng.next_u64()));
                }
            }
        }
    }

    /// Sends the directory of a host, which may be killed meanwhile.
    fn send(&mut self, host: usize, dies: bool) {
        let dir = format!("d{host}");
        let args = ["send", "-r", "--delete", "--force", &dir];
        let msync = self.fleet.msync_start(host, &args);
        if dies {
            self.sleep(60);
            self.kill(host);
        }
        let ran = msync.end();
        // A target may have been killed, or have come in the middle.
        self.is_open[host] = !matches!(ran.code, Some(0 | 2));
    }

    /// One is away while another one sends; when it is back, one of those that have a part in that is killed.
    fn round(&mut self) {
        let sender = self.below(HOSTS);
        let away = self.another(sender);
        self.start(sender);
        match self.below(3) {
            0 => self.kill(away),
            _ if self.is_up[away] => {
                self.fleet.stop(away);
                self.is_up[away] = false;
            }
            _ => {}
        }
        self.edit(sender);
        let dies = self.below(4) == 0;
        self.send(sender, dies);
        self.start(away);
        self.sleep(600);
        let victim = match self.below(3) {
            0 => away,
            1 => sender,
            _ => self.another(away),
        };
        self.kill(victim);
        self.sleep(100);
        for host in 0..HOSTS {
            if self.below(3) > 0 {
                self.start(host);
            }
        }
    }

    fn differing(&self) -> Vec<(usize, usize)> {
        let pairs = (0..HOSTS).flat_map(|owner| (0..HOSTS).map(move |host| (owner, host)));
        let of = |host, owner| {
            let dir = self.fleet.path(host, format!("d{owner}"));
            dir.exists().then(|| tree::snapshot(&dir))
        };
        pairs.filter(|&(owner, host)| of(owner, owner) != of(host, owner)).collect()
    }

    fn end(&mut self, seed: u64) {
        (0..HOSTS).for_each(|host| self.start(host));
        self.fleet.wait_for_members();
        for host in 0..HOSTS {
            if self.is_open[host] {
                self.send(host, false);
                assert!(!self.is_open[host], "seed {seed}: h{host} cannot send");
            }
        }
        within(LIMIT, &format!("seed {seed}: all hosts are alike"), || {
            let differing = self.differing();
            std::thread::sleep(Duration::from_millis(50));
            differing.is_empty().then_some(())
        });
    }
}

/// By hand: `MAKUOSAN_SEED` says the first, `MAKUOSAN_HISTORIES` how many.
#[test]
fn whoever_is_killed_all_are_alike_in_the_end() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let first = number("MAKUOSAN_SEED").unwrap_or(1);
    for seed in first..first + number("MAKUOSAN_HISTORIES").unwrap_or(HISTORIES) {
        let mut history = History::new(seed);
        (0..3).for_each(|_| history.round());
        history.end(seed);
        println!("seed {seed}: {} killed", history.kills);
    }
}
