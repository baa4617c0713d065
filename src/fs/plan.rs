//! Planning: compares each entry of a batch with what is on disk, and says what it needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::collect::Within;
use super::disk::{Disk, PlannedBatch, StagedFile};
use super::errors::reason;
use super::guard;
use super::heritage;
use super::paths::split;
use super::planner::Planner;
use super::rights::PRIVATE;
use super::staging::create;
use super::surplus::Told;
use crate::engine::disk_job::{DiskAnswer, Mode, TransferKey};
use crate::errno;
use crate::ids::{BatchNo, EntryNo};
use crate::name::NodeId;
use crate::sys::fsat;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::{Need, Reason};

impl Disk {
    pub(super) fn plan(
        &mut self,
        key: TransferKey,
        batch: BatchNo,
        manifest: Arc<Manifest>,
        layout: Arc<Layout>,
        mode: Mode,
    ) -> DiskAnswer<StagedFile> {
        let before = self.transfers.get_mut(&key).and_then(|t| t.batches.remove(&batch));
        if let Some(mut before) = before {
            self.discard(&mut before);
        }
        if mode.spools() && !self.transfers.contains_key(&key) && !self.may_open(key.node) {
            let reason = Reason::Os(errno::EMFILE);
            return DiskAnswer::Fatal { key, batch, entry: EntryNo::ZERO, reason };
        }
        let transfer = self.transfers.entry(key).or_default();
        transfer.surplus.mode = mode;
        let wanted = self.wanted.remove(&(key, batch));
        // Comparing changes nothing.
        let is_free = wanted.is_some() || mode.is_check();
        let mirrored = if is_free { &[][..] } else { &self.mirrored[..] };
        let guard = guard::beside(self.guards.get(&key), mirrored);
        let guard = guard.as_ref();
        transfer.surplus.guard(guard);
        transfer.is_replay |= manifest.setup.as_ref().is_some_and(|setup| setup.origin.is_some());
        if let Err(reason) = transfer.surplus.set_up(batch, &manifest) {
            return DiskAnswer::Fatal { key, batch, entry: EntryNo::ZERO, reason };
        }
        let about = transfer.surplus.about().cloned();
        let closing = &self.closing;
        let mut planner = Planner {
            dirs: &mut self.dirs,
            rights: &self.rights,
            staging: self.staging.as_ref(),
            opened: &mut transfer.opened,
            room: &transfer.room,
            free: HashMap::new(),
            digester: &mut self.digester,
            digests: &self.digests,
            long: &mut transfer.long,
            cancelled: &|| closing.contains(key),
            guard: guard.map(|guard| &**guard),
            wanted: wanted.unwrap_or_default(),
            mirrored,
            is_replay: transfer.is_replay,
            examined: BTreeMap::new(),
            lacks: BTreeMap::new(),
            now: None,
            about: about.clone(),
            in_place: BTreeSet::new(),
            readonly: self.config.readonly,
            no_devices: self.config.no_devices,
            mode,
        };
        let needs: Vec<Need> = match mode.names_only() {
            true => vec![Need::Skip; manifest.entries.len()],
            false => {
                let entries = EntryNo::ZERO.onwards().zip(&manifest.entries);
                entries.map(|(at, entry)| planner.need(entry, &manifest, at)).collect()
            }
        };
        let (examined, lacks, in_place) = (planner.examined, planner.lacks, planner.in_place);
        if mode.commits_nothing() {
            return self.plan_without_commit(key, batch, &manifest, needs, &in_place);
        }
        let staged = vec![None; manifest.entries.len()];
        let mut planned = PlannedBatch {
            manifest,
            layout,
            needs,
            examined,
            lacks,
            staged,
            file: None,
            is_whole: false,
        };
        let moved = self.stage_moved(key, about.as_ref(), &mut planned);
        self.open_streamed(key.node, &mut planned);
        let (mut needs, file) = (planned.needs.clone(), planned.file.clone());
        for at in moved {
            // Its content is here.
            needs[at.index()] = Need::Attributes;
        }
        if let Some(transfer) = self.transfers.get_mut(&key) {
            transfer.batches.insert(batch, planned);
        }
        DiskAnswer::Planned { key, batch, needs, file }
    }

    /// The rest of planning for a transfer that commits nothing.
    fn plan_without_commit(
        &mut self,
        key: TransferKey,
        batch: BatchNo,
        manifest: &Arc<Manifest>,
        mut needs: Vec<Need>,
        in_place: &BTreeSet<EntryNo>,
    ) -> DiskAnswer<StagedFile> {
        let transfer = self.transfers.entry(key).or_default();
        if let (Some(staging), true) = (&mut self.staging, transfer.surplus.mode.spools()) {
            let mut within = Within { dirs: &mut self.dirs, staging, rights: &self.rights };
            let told = EntryNo::ZERO.onwards().zip(&needs).map(|(at, need)| match need {
                _ if in_place.contains(&at) => Told::InPlace,
                Need::Failed(_) | Need::Silent => Told::Failed,
                _ => Told::Well,
            });
            let told = told.collect();
            if let Err(e) = transfer.surplus.planned(&mut within, batch, manifest, told) {
                return DiskAnswer::Fatal { key, batch, entry: EntryNo::ZERO, reason: reason(&e) };
            }
        }
        // A transfer that changes nothing ends here: nothing is staged or committed.
        if !transfer.surplus.mode.changes_nothing() {
            transfer.only_needs.insert(batch, needs.clone());
        }
        for at in in_place {
            if let Some(need) = needs.get_mut(at.index()).filter(|need| **need == Need::All) {
                *need = Need::Late;
            }
        }
        DiskAnswer::Planned { key, batch, needs, file: None }
    }

    /// Creates the streamed file of a batch in staging, if it has one and needs it. If that fails, the
    /// entry fails.
    fn open_streamed(&mut self, node: NodeId, planned: &mut PlannedBatch) {
        let slot = match planned.layout.slots() {
            [slot] if planned.layout.streams() => slot,
            _ => return,
        };
        let at = slot.entry.index();
        if planned.staged.get(at).is_some_and(Option::is_some) {
            return;
        }
        let may_open = self.may_open(node);
        let (Some(staging), Some(entry), Some(Need::All)) =
            (&mut self.staging, planned.manifest.entries.get(at), planned.needs.get(at))
        else {
            return;
        };
        if !may_open {
            planned.needs[at] = Need::Failed(Reason::Os(errno::EMFILE));
            return;
        }
        let parent = split(entry.path.as_bytes()).0;
        let heritage = heritage::of(&mut self.dirs, parent, &self.rights);
        let made = staging.place_for(&mut self.dirs, parent, &self.rights).and_then(|place| {
            staging.make(place, &self.rights, |dir, name| {
                let file = match &heritage {
                    Some(from) => heritage::create_as_in(from.as_fd(), dir, name)?.0,
                    None => create(dir, name, PRIVATE)?,
                };
                file.set_len(slot.len).inspect_err(|_| drop(fsat::unlink_at(dir, name)))?;
                Ok(file)
            })
        });
        match made {
            Ok((staged, file)) => {
                planned.file = Some(StagedFile::new(file));
                if let Some(room) = planned.staged.get_mut(at) {
                    *room = Some(Ok(staged));
                }
            }
            Err(e) => {
                if let Some(need) = planned.needs.get_mut(at) {
                    *need = Need::Failed(reason(&e));
                }
            }
        }
    }
}
