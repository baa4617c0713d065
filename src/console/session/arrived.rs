//! The input of a client: bytes become lines, which are queued.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::console::words::MAX_LINE;

/// With this many bytes of queued lines, no more input is read.
pub(super) const FULL: usize = 64 * 1_024;

/// What a queued line counts in addition to its bytes, so that empty ones are limited too.
pub(super) const LINE_COST: usize = 32;

/// A queued line.
#[derive(Debug)]
pub(super) enum Waiting {
    Line(Vec<u8>),
    /// A line over [`MAX_LINE`], which was dropped; whether it was to add a pattern.
    TooLong(bool),
}

/// The input that was not processed yet.
#[derive(Default, Debug)]
pub(super) struct Arrived {
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    /// The rest of the incoming line is to be dropped; whether it was to add a pattern.
    overlong: Option<bool>,
    waiting: VecDeque<Waiting>,
    /// The bytes of all of `waiting`, and [`LINE_COST`] for each.
    bytes: usize,
}

impl Arrived {
    /// Adds input.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.append(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    /// The input has ended: an unfinished line is dropped.
    pub(super) fn end(&mut self) {
        self.partial.clear();
    }

    /// The next line.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.bytes -= LINE_COST;
        if let Waiting::Line(line) = &waiting {
            self.bytes -= line.len();
        }
        Some(waiting)
    }

    /// Whether no line is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether no more input should be read for now.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.overlong.is_some() {
            return;
        }
        // One more byte: it may be the CR before the LF.
        if self.partial.len() + bytes.len() > MAX_LINE + 1 {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&bytes[..bytes.len().min(MAX_LINE)]);
            self.overlong = Some(adds_pattern(&line));
            return;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.partial);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.bytes += LINE_COST;
        if let Some(adds) = self.overlong.take() {
            self.waiting.push_back(Waiting::TooLong(adds));
        } else if line.len() > MAX_LINE {
            self.waiting.push_back(Waiting::TooLong(adds_pattern(&line)));
        } else {
            self.bytes += line.len();
            self.waiting.push_back(Waiting::Line(line));
        }
    }
}

/// Whether a line was meant to add a pattern, also if it cannot be parsed.
pub(super) fn adds_pattern(line: &[u8]) -> bool {
    let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let edits = matches!(words.next(), Some(b"exclude" | b"include"));
    edits && !matches!(words.next(), None | Some(b"list" | b"del" | b"clear"))
}

/// Whether a line was meant to add to the list, also if it cannot be parsed.
pub(super) fn adds_files(line: &[u8]) -> bool {
    let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
    words.next() == Some(b"files") && !matches!(words.next(), None | Some(b"clear"))
}

/// Whether the first line of a connection belongs to another protocol (HTTP, or the binary start of
/// TLS). A hostile page can make a browser connect; what it sends must not command the daemon.
pub(super) fn is_foreign(line: &[u8]) -> bool {
    const METHODS: [&str; 9] =
        ["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"];
    let word = line.split(|&b| b == b' ').next().unwrap_or_default();
    METHODS.iter().any(|method| method.as_bytes() == word)
        || line.windows(6).any(|window| window == b" HTTP/")
        || line.iter().any(|&b| b.is_ascii_control() && b != b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_they_take() {
        let mut arrived = Arrived::default();
        arrived.take(b"a\r\nb");
        arrived.take(b"c\n\nlate");
        arrived.end();
        let long = [b"exclude add ", [b'x'; MAX_LINE].as_slice(), b"\n"].concat();
        arrived.take(&long);
        assert_eq!(arrived.bytes, 4 * LINE_COST + 3);
        for expected in [&b"a"[..], b"bc", b""] {
            assert!(matches!(arrived.next(), Some(Waiting::Line(line)) if line == expected));
        }
        assert!(matches!(arrived.next(), Some(Waiting::TooLong(true))));
        assert!(arrived.next().is_none() && arrived.is_empty());
        assert_eq!(arrived.bytes, 0);
    }
}
