//! What must hold, all the time and at the end.

use std::collections::BTreeSet;

use super::disk::Disk;
use super::{Contents, Crash, Ops, PATHS, World, name, paths, show};
use crate::engine::rng::Rng;
use crate::mirror::entry::Entry;
use crate::wire::versions::{Dot, Knowledge};

/// What is compared to see whether anything moved.
type State = (Vec<(Box<[u8]>, Entry)>, Knowledge, Vec<Disk>);

impl World {
    /// A set is what its knowledge says: the live dots that it covers and that no dot that it covers replaced.
    pub(super) fn honest(&mut self) {
        for host in 0..self.hosts.len() {
            for path in paths() {
                let known = self.context(host, path);
                let covered = || {
                    self.given
                        .iter()
                        .filter(|(dot, given)| given.path == path && known.covers(**dot))
                };
                let dead: BTreeSet<Dot> =
                    covered().flat_map(|(_, given)| given.replaced.iter().copied()).collect();
                let wanted: BTreeSet<Dot> = covered()
                    .filter(|(dot, given)| given.content.is_some() && !dead.contains(dot))
                    .map(|(dot, _)| *dot)
                    .collect();
                let live: BTreeSet<Dot> =
                    self.live(host, path).iter().map(|(dot, _)| *dot).collect();
                if live != wanted {
                    let [live, wanted] =
                        [live, wanted].map(|dots| dots.into_iter().map(show).collect::<Vec<_>>());
                    let text = format!("h{host} {}: {live:?}, not {wanted:?}", name(path));
                    self.say(|| text.clone());
                    self.bad.entry("not honest").or_insert(text);
                }
            }
        }
    }

    fn state(&self) -> Vec<State> {
        let state = |h: &super::Host| {
            (h.index.entries_from(&[]).collect(), h.index.known().clone(), h.disk.clone())
        };
        self.hosts.iter().map(state).collect()
    }

    fn all_sync(&mut self, scans: bool) -> Result<(), Crash> {
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                self.scan(from)?;
                if scans {
                    self.scan(to)?;
                }
                self.sync(from, to)?;
            }
        }
        Ok(())
    }

    /// Quiet: everybody is back, nothing goes wrong any more, and at the end all must have the same.
    pub(super) fn finish(&mut self, seed: u64) -> Result<(), Crash> {
        let mut rng = Rng::new(seed);
        self.say(|| "quiet".to_owned());
        for host in 0..self.hosts.len() {
            let h = &mut self.hosts[host];
            (h.fuse, h.race) = (None, None);
            (h.is_full, h.holds, h.is_mounted) = (false, false, true);
            self.start(host)?;
        }
        for host in 0..self.hosts.len() {
            self.scan(host)?;
        }
        let mut told = false;
        let mut is_quiet = false;
        for _ in 0..14 {
            let before = self.state();
            self.all_sync(true)?;
            if before != self.state() {
                continue;
            }
            if told {
                is_quiet = true;
                break;
            }
            told = true;
            self.decide(rng.below(2) == 0)?;
        }
        if !is_quiet {
            self.bad.insert("endless", String::new());
        }
        let work = self.work;
        self.all_sync(false)?;
        if self.work != work {
            self.bad.insert("not silent", String::new());
        }
        self.all_equal();
        self.nothing_lost();
        Ok(())
    }

    /// People decide what is listed, and give up what nobody holds.
    fn decide(&mut self, pushes: bool) -> Result<(), Crash> {
        let all_list = self.hosts.iter().all(|h| h.index.listed().next().is_some());
        for host in 0..self.hosts.len() {
            self.tell(host, pushes || all_list, true)?;
        }
        for host in 0..self.hosts.len() {
            for path in paths() {
                for (dot, content) in self.live(host, path) {
                    if !self.hosts.iter().any(|h| h.has(path, content)) {
                        self.change(host, path, &Ops::new(), |i| i.give_up(PATHS[path], dot));
                        self.log(host)?;
                        self.place(host, path)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn all_equal(&mut self) {
        let seen = |world: &World, host: usize, path: usize| {
            let disk = &world.hosts[host].disk[path];
            let file = disk.file.as_ref().map(|file| file.content);
            let live: BTreeSet<Dot> = world.live(host, path).iter().map(|(dot, _)| *dot).collect();
            (file, disk.conflicts.clone(), live)
        };
        for host in 1..self.hosts.len() {
            for path in paths() {
                let [one, other] = [0, host].map(|host| seen(self, host, path));
                if one != other {
                    let text = format!("h0 and h{host} at {}: {one:?} {other:?}", name(path));
                    self.bad.insert("diverged", text);
                }
            }
            if self.hosts[host].index.known() != self.hosts[0].index.known() {
                self.bad.insert("K differs", format!("h{host}"));
            }
        }
    }

    /// What nobody replaced is everywhere, and what somebody did nowhere.
    fn nothing_lost(&mut self) {
        let is_sure = |deed: &&super::Deed| !deed.void && !deed.grey && !deed.regained;
        let replaced = |deed: &super::Deed| deed.replaced.clone();
        let sure: Ops = self.deeds.iter().filter(is_sure).flat_map(replaced).collect();
        let maybe: Ops = self.deeds.iter().flat_map(replaced).collect();
        for path in paths() {
            let made = self.deeds.iter().enumerate().filter(|(_, deed)| deed.path == path);
            let made: Vec<_> = made.filter_map(|(n, deed)| Some((n, deed, deed.new?))).collect();
            let must: Contents = made
                .iter()
                .filter(|(n, deed, content)| {
                    !deed.void
                        && !deed.grey
                        && !maybe.contains(n)
                        && !self.gone.contains(&(path, *content))
                })
                .map(|(_, _, content)| *content)
                .collect();
            let may: Contents = made
                .iter()
                .filter(|(n, _, _)| !sure.contains(n) || self.excepted.contains(n))
                .map(|(_, _, content)| *content)
                .collect();
            for h in &self.hosts {
                let Disk { file, conflicts, .. } = &h.disk[path];
                let file = file.as_ref().map(|file| file.content);
                let mut here = conflicts.clone();
                here.extend(file);
                let at = format!("h{} {}", h.n, name(path));
                if !must.is_subset(&here) {
                    self.bad.insert("lost", format!("{at}: {must:?} of {here:?}"));
                }
                if file.is_some_and(|file| !may.contains(&file)) {
                    self.bad.insert("came back", format!("{at}: {file:?}"));
                }
                if !conflicts.is_subset(&may) {
                    self.bad.insert("stale conflict", format!("{at}: {conflicts:?} of {may:?}"));
                }
            }
        }
    }
}
