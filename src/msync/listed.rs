//! `--files-from`: the paths that the daemon is told before the command.
#![forbid(unsafe_code)]

use super::dialogue::Client;
use super::failure::Failure;
use super::line::{LineError, push_word};
use super::old;
use crate::console::MAX_LINE;
use crate::name::RelPath;

/// So many lines are said before their answers are waited for.
const AT_ONCE: usize = 4;

impl Client<'_> {
    /// Tells the daemon a list of paths below `top`.
    pub(super) fn tell_list(&mut self, top: &RelPath, paths: &[RelPath]) -> Result<(), Failure> {
        if !self.understood(b"files clear")? {
            return Err(Failure::TooOld("--files-from"));
        }
        let lines = lines(top, paths)?;
        for some in lines.chunks(AT_ONCE) {
            self.link.say(&some.join(&b'\n'))?;
            let mut refused = None;
            for _ in some {
                self.answer(|_, said| {
                    refused.get_or_insert_with(|| said.to_vec());
                })?;
            }
            if let Some(said) = refused {
                return Err(Failure::List(old::error(&said, |_| false).error));
            }
        }
        Ok(())
    }
}

/// The lines that name all of them, as many on each as fit.
fn lines(top: &RelPath, paths: &[RelPath]) -> Result<Vec<Vec<u8>>, Failure> {
    const ADD: &[u8] = b"files add";
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        let whole = match (top.is_base(), path.is_base()) {
            // It is no entry of its own.
            (true, true) => continue,
            (true, false) => path.as_bytes().to_vec(),
            (false, true) => top.as_bytes().to_vec(),
            (false, false) => [top.as_bytes(), b"/", path.as_bytes()].concat(),
        };
        let failed = |why| Failure::Path(whole.clone(), why);
        let mut word = Vec::new();
        push_word(&mut word, &whole, true).map_err(failed)?;
        if ADD.len() + word.len() > MAX_LINE || RelPath::parse(&whole).is_err() {
            return Err(failed(LineError::TooLong));
        }
        match lines.last_mut().filter(|line| line.len() + word.len() <= MAX_LINE) {
            Some(line) => line.extend(word),
            None => lines.push([ADD, &word].concat()),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::split;

    #[test]
    fn every_path_is_on_one_line_and_no_line_is_too_long() {
        let path = |text: &[u8]| RelPath::parse_or_base(text).unwrap();
        let odd = [&b"a b"[..], b"-r", b"\n", b"add", b"\xff\"", b""];
        let mut paths: Vec<RelPath> = odd.iter().map(|text| path(text)).collect();
        paths.extend((0..2_000).map(|n| path(format!("dir/{n}").as_bytes())));
        for top in [path(b""), path(b"top")] {
            let lines = lines(&top, &paths).unwrap();
            let mut named = Vec::new();
            for line in lines {
                assert!(line.len() <= MAX_LINE && !line.contains(&b'\n'));
                let words = split(&line).unwrap();
                named.extend(words.into_iter().skip(2).map(|word| word.bytes));
            }
            let below = |path: &RelPath| match (top.is_base(), path.is_base()) {
                (true, _) => path.as_bytes().to_vec(),
                (false, true) => b"top".to_vec(),
                (false, false) => [b"top/", path.as_bytes()].concat(),
            };
            let want: Vec<Vec<u8>> =
                paths.iter().map(below).filter(|name| !name.is_empty()).collect();
            assert_eq!(named, want);
        }
        let long = [b'\x01'; 200];
        let deep = vec![&long[..]; 20].join(&b'/');
        assert!(lines(&path(b""), &[path(&deep)]).is_err());
    }
}
