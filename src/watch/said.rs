//! What is said of a watch in the log.

use std::io;

use super::scan::UNWATCHED;
use super::types::{Held, Why};
use crate::count::counted;
use crate::errno::ErrorText;
use crate::log;
use crate::name::RelPath;

fn shown(path: &RelPath) -> String {
    if path.is_base() { ".".to_owned() } else { path.to_string() }
}

pub(super) fn all_is_sent(path: &RelPath, why: &Why) {
    log::notice(format_args!("watch {}: all of it is sent: {why}", shown(path)));
}

pub(super) fn released(path: &RelPath) {
    log::notice(format_args!("watch {}: what was held is released", shown(path)));
}

pub(super) fn failed(path: &RelPath, error: &io::Error) {
    log::error(format_args!("watch {}: {}", shown(path), ErrorText(error)));
}

pub(super) fn lost(path: &RelPath) {
    log::error(format_args!(
        "watch {}: {}; nothing is sent until it is back, or 'msync watch release' says that it is meant",
        shown(path),
        Held::Replaced
    ));
}

pub(super) fn back(path: &RelPath) {
    log::notice(format_args!("watch {}: the directory is back", shown(path)));
}

pub(super) fn held(path: &RelPath, why: Held) {
    log::error(format_args!(
        "watch {}: deletions are held: {why}; 'msync watch release' lets them go",
        shown(path)
    ));
}

/// Some directories have no watch, or all have again.
pub(super) fn unwatched(path: &RelPath, have: u64, lacks: u64, is_full: bool) {
    let path = shown(path);
    if lacks == 0 {
        return log::notice(format_args!("watch {path}: all directories are watched now"));
    }
    let why = match is_full {
        true => format!(
            ": fs.inotify.max_user_watches has to be at least {} for this tree",
            have + lacks
        ),
        false => String::new(),
    };
    log::warning(format_args!(
        "watch {path}: {} cannot be watched, and {} searched every {} s{why}",
        counted(lacks, "directory"),
        if lacks == 1 { "is" } else { "are" },
        UNWATCHED.millis() / 1_000
    ));
}
