//! Incoming transfers of mirrors: what of a batch is lacking here, and what becomes of it.

use std::sync::Arc;

use crate::daemon::messages::{MirrorWork, ToControl};
use crate::daemon::shared::Shared;
use crate::engine::disk_job::{DiskAnswer, DiskJob};
use crate::errno;
use crate::fs::disk::{Disk, StagedFile};
use crate::ids::EntryNo;
use crate::keeping::mirrors::{Mirrors, Told, TreeNo};
use crate::log;
use crate::wire::outcome::Reason;

/// The mirrors of this host, for the disk thread.
pub(super) struct Mirrored<'a> {
    shared: &'a Shared,
    mirrors: Option<Arc<Mirrors>>,
}

impl<'a> Mirrored<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Mirrored { shared, mirrors: shared.mirrors.clone() }
    }

    /// Runs a job, whether it is of a mirror or not.
    pub(super) fn run(&self, disk: &mut Disk, job: DiskJob) -> Option<DiskAnswer<StagedFile>> {
        let Some(mirrors) = &self.mirrors else { return disk.run(job) };
        match &job {
            DiskJob::Plan { key, batch, manifest, .. } => {
                let (key, batch) = (*key, *batch);
                let setup = manifest.setup.as_ref();
                let setup = setup.and_then(|setup| Some((&setup.path, setup.mirror.as_ref()?)));
                match mirrors.plan(key, batch, manifest) {
                    Ok(None) => {}
                    Ok(Some(wanted)) => {
                        if let Some((tree, setup)) =
                            setup.and_then(|(path, setup)| Some((mirrors.find(path)?, setup)))
                        {
                            let said =
                                ToControl::MirrorBegun(tree, key.node, Box::new(setup.clone()));
                            self.shared.control.send(said);
                        }
                        disk.want(key, batch, wanted);
                    }
                    Err(error) => {
                        log::warning(format_args!("mirror: {error}"));
                        let reason = Reason::Os(errno::EINVAL);
                        let entry = EntryNo::ZERO;
                        return Some(DiskAnswer::Fatal { key, batch, entry, reason });
                    }
                }
                disk.run(job)
            }
            DiskJob::Commit { key, batch, strikes } => {
                let (key, batch, strikes) = (*key, *batch, strikes.clone());
                let tree = mirrors.tree_of(key).zip(disk.planned(key, batch));
                let Some((tree, manifest)) = tree else { return disk.run(job) };
                let outcomes = mirrors.commit(tree, disk, key, batch, &manifest, &strikes);
                // What it has staged is gone from there: it only forgets the batch.
                match disk.run(job) {
                    Some(DiskAnswer::Done { .. }) => {
                        Some(DiskAnswer::Done { key, batch, outcomes })
                    }
                    other => other,
                }
            }
            DiskJob::Close { key, ended } => {
                let (key, is_whole) = (*key, ended.is_some_and(|ended| ended.is_whole));
                let answer = disk.run(job);
                if let Some((tree, is_taken)) = mirrors.close(disk, key, is_whole) {
                    disk.rest();
                    self.tell(tree);
                    self.shared.control.send(ToControl::MirrorEnded(tree, key.node, is_taken));
                }
                answer
            }
            _ => disk.run(job),
        }
    }

    /// Does what is to be done in a tree.
    pub(super) fn work(
        &self,
        disk: &mut Disk,
        tree: TreeNo,
        client: Option<u32>,
        work: MirrorWork,
    ) {
        let Some(mirrors) = &self.mirrors else { return };
        let none = Told::Done(0);
        let done = match work {
            MirrorWork::Check => {
                mirrors.check(tree, disk);
                Ok(none)
            }
            MirrorWork::Settle => mirrors.settle_open(tree, disk).map(|()| none),
            MirrorWork::Bury(all) => mirrors.bury(tree, &all).map(|()| none),
            MirrorWork::Renew => mirrors.renew(tree).map(|()| none),
            MirrorWork::Ask(asked) => mirrors.ask(tree, disk, &asked),
        };
        disk.rest();
        match (client, done) {
            (Some(client), done) => {
                self.shared.control.send(ToControl::Answered(client, tree, done));
            }
            (None, Err(error)) => log::error(format_args!("mirror: {error}")),
            (None, Ok(_)) => {}
        }
        self.tell(tree);
    }

    fn tell(&self, tree: TreeNo) {
        self.shared.control.send(ToControl::Mirrored(tree));
    }
}
