//! The commands about trees that are kept equal: `watch`, `flush`, `mirror` and `conflicts`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::config::{Command, PROGRAM, Watch};
use crate::cli::{Error, Typed, value};
use crate::console::MAX_DELAY;
use crate::name::{Escaped, HostName};

/// `mirror` or `conflicts`, with what follows it.
pub(super) fn mirroring(typed: &Typed, name: &str, words: Vec<OsString>) -> Result<Command, Error> {
    let words: Vec<Vec<u8>> = words.into_iter().map(OsString::into_vec).collect();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let is_empty = words.iter().any(|word| word.is_empty());
    // As conflicts shows it.
    let is_version =
        |word: &&[u8]| word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    if let Some(word) = words.get(2).filter(|word| !is_version(word)) {
        let why = format!("{}: not a VERSION as conflicts shows it", Escaped(word));
        return Err(Error::new(PROGRAM, why));
    }
    let decide = |what, path: &[u8], more: Option<&[u8]>| {
        Command::Decide(what, path.to_vec(), more.map(<[u8]>::to_vec))
    };
    let all = typed.has("all");
    if all && (name, words.as_slice()) != ("conflicts", &[b"drop"]) {
        return Err(Error::new(PROGRAM, "--all: only conflicts drop has it, without a PATH"));
    }
    Ok(match (name, words.as_slice()) {
        ("mirror", []) => Command::Mirror,
        ("mirror", [b"list"]) => Command::List("mirror", Vec::new()),
        ("mirror", [b"list", path]) if !is_empty => Command::List("mirror", path.to_vec()),
        ("conflicts", [] | [b"list"]) => Command::List("conflicts", Vec::new()),
        ("conflicts", [b"list", path]) if !is_empty => Command::List("conflicts", path.to_vec()),
        ("mirror", [b"release", path]) if !is_empty => decide("mirror release", path, None),
        ("mirror", [b"adopt", path]) if !is_empty => decide("mirror adopt", path, None),
        ("conflicts", [b"take", path]) if !is_empty => decide("conflicts take", path, None),
        ("conflicts", [b"take", path, version]) if !is_empty => {
            decide("conflicts take", path, Some(version))
        }
        ("conflicts", [b"drop"]) if all => decide("conflicts drop", b"", None),
        ("conflicts", [b"drop", path]) if !is_empty => decide("conflicts drop", path, None),
        ("conflicts", [b"drop", path, version]) if !is_empty => {
            decide("conflicts drop", path, Some(version))
        }
        ("mirror", _) => {
            let why =
                "mirror: list [PATH], release PATH or adopt PATH may follow (a file is ./mirror)";
            return Err(Error::new(PROGRAM, why));
        }
        _ => {
            let why = "conflicts: list [PATH], take PATH [VERSION], drop PATH [VERSION] or drop --all may \
                       follow (a file is ./conflicts)";
            return Err(Error::new(PROGRAM, why));
        }
    })
}

/// `watch`, `watch release` or `flush`.
pub(super) fn watching(
    typed: &Typed,
    name: &str,
    words: Vec<OsString>,
    hosts: Vec<HostName>,
) -> Result<Command, Error> {
    let mut words: Vec<Vec<u8>> = words.into_iter().map(OsString::into_vec).collect();
    let releases = name == "watch" && words.len() > 1 && words[0] == b"release";
    if releases {
        words.remove(0);
    }
    if words.len() > 1 || words.iter().any(Vec::is_empty) {
        return Err(Error::new(PROGRAM, format_args!("{name}: one PATH at a time")));
    }
    let path = words.pop().unwrap_or_default();
    if releases {
        return Ok(Command::Release(path));
    }
    if name == "flush" {
        return Ok(Command::Flush(path));
    }
    let must = format!("a delay in milliseconds is 0 to {MAX_DELAY}");
    let delay = |text: OsString| {
        let millis = value::number(&text, 0..=MAX_DELAY);
        millis.ok_or_else(|| Error::bad_value(PROGRAM, "--delay", &text, &must))
    };
    let delay = typed.last("delay").map(delay).transpose()?;
    Ok(Command::Watch(Watch { path, delete: typed.has("delete"), delay, hosts }))
}
