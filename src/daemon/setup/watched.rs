//! What a daemon is to watch from its start on.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::StartError;
use crate::cli::daemon::Config;
use crate::cli::{Filter, Text};
use crate::console::command::Watch;
use crate::fs::root::Root;
use crate::name::RelPath;
use crate::pattern::{self, MAX_FILE, PatternError, Patterns, Rule};
use crate::time::Span;

/// How long a change in a mirror waits for more, what is left out, and whether this host's files are the origin.
pub(super) type Mirroring = (Option<Span>, Patterns, bool);

/// What is to be watched, with what is left out of it.
///
/// # Errors
/// A file of patterns cannot be used, or there are too many.
pub(super) fn watched(config: &Config) -> Result<Vec<(Watch, Patterns)>, StartError> {
    let patterns = patterns(&config.watch.filters)?;
    let (delete, delay) = (config.watch.delete, config.watch.delay);
    let watch = |path: &RelPath| {
        let what = Watch { path: path.clone(), delete, delay, targets: Vec::new() };
        (what, patterns.clone())
    };
    Ok(config.watch.paths.iter().map(watch).collect())
}

/// Of what is mirrored: how long a change waits for more, and what is left out.
///
/// # Errors
/// As [`watched`].
pub(super) fn mirroring(config: &Config) -> Result<Mirroring, StartError> {
    Ok((config.watch.delay, patterns(&config.watch.filters)?, config.mirror.first))
}

fn patterns(filters: &[Filter]) -> Result<Patterns, StartError> {
    let mut rules: Vec<Rule> = Vec::new();
    for filter in filters {
        match filter {
            Filter::Rule(rule) => rules.push(rule.clone()),
            Filter::From(Text::File(path)) => rules.extend(from_file(path)?),
            // The options do not have it.
            Filter::From(Text::Input) => {}
        }
    }
    let too_many = |why: PatternError| {
        StartError::Option("--exclude", "all of them".to_owned(), io::Error::other(why))
    };
    Patterns::new(&rules).map_err(too_many)
}

fn from_file(path: &Path) -> Result<Vec<Rule>, StartError> {
    let failed = |error| StartError::Option("--exclude-from", path.display().to_string(), error);
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes));
    read.map_err(failed)?;
    pattern::from_text(&bytes, b'\n').map_err(|why| failed(io::Error::other(why)))
}

/// Makes sure that what is to be watched is there.
///
/// # Errors
/// The first that is no directory, or cannot be read.
pub(super) fn check(config: &Config, root: &Root) -> Result<(), StartError> {
    for path in config.watch.paths.iter().filter(|path| !path.is_base()) {
        let failed = |error| StartError::Option("-w", path.to_string(), error);
        root.open_dir(path.as_bytes(), 0).map_err(failed)?;
    }
    Ok(())
}
