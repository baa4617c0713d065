//! What a session has to say to its client and the client has not taken yet.
#![forbid(unsafe_code)]

/// Room that is kept once the client has taken everything.
const KEPT: usize = 64 * 1_024;

/// Bytes on their way to a client.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// How many of them are gone already.
    written: usize,
}

impl Output {
    /// Begins with these bytes.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Output { bytes: bytes.to_vec(), written: 0 }
    }

    /// Bytes as they are: a prompt.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// One line. Names in it were escaped where the line was made; this keeps any other text from ending
    /// the line early, or from looking like a prompt.
    pub(super) fn line(&mut self, text: &str) {
        let rest = match text.strip_prefix("> ") {
            Some(rest) => {
                self.raw(b"\\076 ");
                rest
            }
            None => text,
        };
        for c in rest.chars() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            if c.is_control() {
                bytes.iter().for_each(|byte| self.raw(format!("\\{byte:03o}").as_bytes()));
            } else {
                self.raw(bytes);
            }
        }
        self.bytes.push(b'\n');
    }

    /// What is to be written.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// How many bytes that are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// `count` bytes of it were written.
    pub(super) fn consume(&mut self, count: usize) {
        self.written = self.written.saturating_add(count).min(self.bytes.len());
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            self.written = 0;
        } else if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_goes_and_no_room_is_kept_for_long() {
        let mut output = Output::default();
        output.line(&"x".repeat(10 * KEPT));
        assert_eq!(output.len(), 10 * KEPT + 1);
        output.consume(9 * KEPT);
        assert_eq!(output.rest(), format!("{}\n", "x".repeat(KEPT)).as_bytes());
        output.consume(usize::MAX);
        assert_eq!((output.len(), output.rest()), (0, &b""[..]));
        assert!(output.bytes.capacity() <= 2 * KEPT);
    }

    #[test]
    fn no_line_is_two_or_a_prompt() {
        let mut output = Output::default();
        output.line("> a\nb\r\u{85}");
        assert_eq!(output.rest(), b"\\076 a\\012b\\015\\302\\205\n");
    }
}
