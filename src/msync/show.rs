//! The output: lines on standard output, errors on standard error and, if wanted, a progress line
//! that is redrawn in place, and a summary.
#![forbid(unsafe_code)]

use std::io::{self, BufWriter, Write};

use crate::cli::msync::Verb;
use crate::console::reply::{Progress, Total};
use crate::count;
use crate::errno::ErrorText;
use crate::time::Span;

/// The most characters in the progress line: if it wrapped, it could not be redrawn.
const WIDTH: usize = 79;

/// Standard output and standard error.
pub struct Screen {
    out: BufWriter<Box<dyn Write>>,
    err: Box<dyn Write>,
    /// The error that ended standard output.
    broken: Option<io::Error>,
    draw: bool,
    summary: bool,
    /// Whether a progress line is on the screen.
    drawn: bool,
}

impl Screen {
    /// A screen. `draw`: show progress; `summary`: show the summary.
    pub fn new(
        out: impl Write + 'static,
        err: impl Write + 'static,
        draw: bool,
        summary: bool,
    ) -> Screen {
        let out = BufWriter::new(Box::new(out) as Box<dyn Write>);
        Screen { out, err: Box::new(err), broken: None, draw, summary, drawn: false }
    }

    /// Whether progress is shown.
    pub fn draws(&self) -> bool {
        self.draw
    }

    /// Whether the summary, and what else is for people alone, is shown.
    pub fn sums_up(&self) -> bool {
        self.summary
    }

    /// Writes a line to standard output.
    pub fn line(&mut self, line: &[u8]) {
        self.clear();
        if self.broken.is_none() {
            let written = self.out.write_all(line).and_then(|()| self.out.write_all(b"\n"));
            self.broken = written.err();
        }
    }

    /// Writes a line of the daemon to standard error.
    pub fn trouble(&mut self, line: &[u8]) {
        self.flush();
        self.clear();
        let mut bytes = line.to_vec();
        bytes.push(b'\n');
        // There is no place left to report a failure of this.
        let _ = self.err.write_all(&bytes);
    }

    /// Writes a line of the client itself to standard error.
    pub fn say(&mut self, text: &str) {
        self.trouble(text.as_bytes());
    }

    /// Flushes standard output; to be called before waiting.
    pub fn flush(&mut self) {
        if self.broken.is_none() {
            self.broken = self.out.flush().err();
        }
    }

    /// Draws the progress line.
    pub fn progress(&mut self, progress: &Progress) {
        if self.draw {
            self.status(&progress_line(progress));
        }
    }

    /// Draws a line in place of the progress line.
    pub fn status(&mut self, text: &str) {
        if self.draw {
            self.flush();
            let _ = write!(self.err, "\r{text}\x1b[K");
            let _ = self.err.flush();
            self.drawn = true;
        }
    }

    /// Writes the summary.
    pub fn summary(&mut self, verb: Verb, total: &Total, dry_run: bool) {
        if self.summary {
            let text = summary_line(verb, total);
            self.say(&if dry_run { format!("(dryrun) {text}") } else { text });
        }
    }

    /// Shows what there is to say beside the summary.
    pub fn remarks(&mut self, lines: &[String]) {
        if self.summary {
            lines.iter().for_each(|line| self.say(line));
        }
    }

    /// Ends all output.
    ///
    /// # Errors
    /// Not all of standard output could be written. A closed pipe is no error: the reader has read
    /// enough.
    pub fn finish(mut self) -> io::Result<()> {
        self.clear();
        self.flush();
        match self.broken.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.say(&format!("msync: cannot write: {}", ErrorText(&error)));
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = self.err.write_all(b"\r\x1b[K");
        }
    }
}

/// `45%  39.6 MB/88.1 MB  1,204/2,300 files  144 MB/s  0:12 left  3 hosts`, as far as known and as
/// it fits.
fn progress_line(progress: &Progress) -> String {
    let Progress { bytes_done, bytes_total, entries_done, entries_total, hosts, rate } = *progress;
    let mut parts = Vec::new();
    if let (Some(total), Some(_)) = (bytes_total.or(entries_total), entries_total) {
        let done = if bytes_total.is_some() { bytes_done } else { entries_done };
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        parts.push(format!("{:3}%", percent.min(100)));
    }
    parts.push(match bytes_total {
        Some(total) => format!("{}/{}", size(bytes_done), size(total)),
        None => size(bytes_done),
    });
    parts.push(match entries_total {
        Some(total) => format!("{}/{}", grouped(entries_done), counted(total, "file")),
        None => counted(entries_done, "file"),
    });
    parts.push(format!("{}/s", size(rate)));
    if let Some(total) = bytes_total.filter(|_| rate > 0) {
        parts.push(format!("{} left", clock(total.saturating_sub(bytes_done).div_ceil(rate))));
    }
    parts.push(counted(hosts.into(), "host"));
    let mut line = parts.join("  ");
    while line.len() > WIDTH && parts.pop().is_some() {
        line = parts.join("  ");
    }
    line
}

/// `1,204 files, 88.1 MB to 3 hosts in 0.61 s (144 MB/s); 17 unchanged`, or that of another
/// command.
fn summary_line(verb: Verb, total: &Total) -> String {
    let micros = total.time.micros();
    let hosts = match total.known.filter(|_| total.absent > 0) {
        Some(known) => {
            let there = grouped(known.saturating_sub(total.absent).into());
            format!("{there} of {}", counted(known.into(), "host"))
        }
        None => counted(total.hosts, "host"),
    };
    let took = seconds(total.time);
    let mut line = match verb {
        Verb::Check => {
            let compared = counted(total.files + total.unchanged, "file");
            format!("{compared} compared on {hosts} in {took}")
        }
        Verb::Dsync => format!("{} deleted on {hosts} in {took}", grouped(total.deleted)),
        Verb::Send | Verb::Sync | Verb::Fetch => {
            let files = counted(total.files, "file");
            format!("{files}, {} to {hosts} in {took}", size(total.bytes))
        }
    };
    let rate = u128::from(total.bytes) * 1_000_000 / u128::from(micros.max(1));
    let sends = matches!(verb, Verb::Send | Verb::Sync | Verb::Fetch);
    if sends && micros > 0 && total.bytes > 0 {
        line.push_str(&format!(" ({}/s)", size(u64::try_from(rate).unwrap_or(u64::MAX))));
    }
    let differing = if verb == Verb::Check { total.files } else { 0 };
    let unchanged = if sends { total.unchanged } else { 0 };
    let deleted = if sends { total.deleted } else { 0 };
    for (count, what) in [(differing, "differ"), (unchanged, "unchanged"), (deleted, "deleted")] {
        if count > 0 {
            line.push_str(&format!("; {} {what}", grouped(count)));
        }
    }
    if total.failed > 0 {
        line.push_str(&format!("; {} failed", counted(total.failed, "host")));
    }
    if total.errors > 0 {
        line.push_str(&format!("; {}", counted(total.errors, "error")));
    }
    line
}

/// `1 host`, `2 hosts`.
fn counted(number: u64, one: &str) -> String {
    format!("{} {}", grouped(number), count::noun(number, one))
}

/// `1,204`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits.
fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// `0 B`, `88.1 MB`: decimal units.
fn size(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if value < 999.5 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    format!("{} {unit}", three_digits(value))
}

/// `0.61 s`.
fn seconds(time: Span) -> String {
    format!("{} s", three_digits(time.secs_f64()))
}

/// `0:12`, `1:02:03`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        1..100 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => "days".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// A writer whose bytes can be looked at, and that can fail.
    #[derive(Clone, Default)]
    struct Paper {
        bytes: Rc<RefCell<Vec<u8>>>,
        fails: Option<io::ErrorKind>,
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.bytes.borrow().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.fails {
                Some(kind) => Err(kind.into()),
                None => self.bytes.borrow_mut().write(bytes),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([grouped(0), grouped(999), grouped(1_204)], ["0", "999", "1,204"]);
        assert_eq!(grouped(1_234_567), "1,234,567");
        let sizes = [(0, "0 B"), (999, "999 B"), (1_000, "1.00 kB"), (88_100_000, "88.1 MB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(999_499), "999 kB");
        assert_eq!(size(999_500), "1.00 MB");
        assert_eq!(size(9_996_000), "10.0 MB");
        assert_eq!(size(u64::MAX), "18.4 EB");
        assert_eq!(seconds(Span::from_micros(610_000)), "0.61 s");
        assert_eq!(seconds(Span::from_millis(61_250)), "61.2 s");
        assert_eq!([clock(12), clock(60), clock(3_723)], ["0:12", "1:00", "1:02:03"]);
    }

    #[test]
    fn the_summary() {
        let total = Total {
            hosts: 3,
            files: 1_204,
            bytes: 88_100_000,
            unchanged: 17,
            time: Span::from_micros(610_000),
            ..Total::default()
        };
        assert_eq!(
            summary_line(Verb::Send, &total),
            "1,204 files, 88.1 MB to 3 hosts in 0.61 s (144 MB/s); 17 unchanged"
        );
        let gone = Total { deleted: 1_004, ..total };
        assert!(summary_line(Verb::Send, &gone).ends_with("; 17 unchanged; 1,004 deleted"));
        assert_eq!(summary_line(Verb::Dsync, &gone), "1,004 deleted on 3 hosts in 0.61 s");
        assert_eq!(
            summary_line(Verb::Check, &Total { files: 2, failed: 1, ..total }),
            "19 files compared on 3 hosts in 0.61 s; 2 differ; 1 host failed"
        );
        let some = Total { known: Some(4), absent: 1, ..total };
        assert!(summary_line(Verb::Send, &some).contains(" to 3 of 4 hosts in "));
        let all = Total { known: Some(3), ..total };
        assert_eq!(summary_line(Verb::Send, &all), summary_line(Verb::Send, &total));
        let bad = Total { hosts: 1, files: 1, failed: 1, errors: 2, ..Total::default() };
        assert_eq!(
            summary_line(Verb::Sync, &bad),
            "1 file, 0 B to 1 host in 0.00 s; 1 host failed; 2 errors"
        );
    }

    #[test]
    fn the_line_of_progress() {
        let progress = Progress {
            bytes_done: 39_600_000,
            bytes_total: Some(88_100_000),
            entries_done: 1_204,
            entries_total: Some(2_300),
            hosts: 3,
            rate: 4_000_000,
        };
        assert_eq!(
            progress_line(&progress),
            " 44%  39.6 MB/88.1 MB  1,204/2,300 files  4.00 MB/s  0:13 left  3 hosts"
        );
        let early = Progress { bytes_total: None, entries_total: None, rate: 0, ..progress };
        assert_eq!(progress_line(&early), "39.6 MB  1,204 files  0 B/s  3 hosts");
        let empty = Progress { bytes_total: None, ..progress };
        assert!(progress_line(&empty).starts_with(" 52%  39.6 MB  1,204/2,300 files"));
        let most = u64::MAX;
        let wide = Progress {
            bytes_done: most,
            bytes_total: Some(most),
            entries_done: most,
            entries_total: Some(most),
            hosts: u32::MAX,
            rate: 1,
        };
        assert!(progress_line(&wide).len() <= WIDTH);
        assert!(progress_line(&wide).starts_with("100%"));
    }

    #[test]
    fn lines_and_progress_do_not_mix() {
        let (out, err) = (Paper::default(), Paper::default());
        let mut screen = Screen::new(out.clone(), err.clone(), true, true);
        screen.progress(&Progress::default());
        screen.line(b"update a:b");
        screen.progress(&Progress::default());
        screen.trouble(b"error: x");
        screen.summary(Verb::Send, &Total::default(), true);
        screen.finish().unwrap();
        assert_eq!(out.text(), "update a:b\n");
        let drawn = format!("\r{}\x1b[K\r\x1b[K", progress_line(&Progress::default()));
        let summary = summary_line(Verb::Send, &Total::default());
        assert_eq!(err.text(), format!("{drawn}{drawn}error: x\n(dryrun) {summary}\n"));
    }

    #[test]
    fn nothing_is_drawn_unless_wished() {
        let (out, err) = (Paper::default(), Paper::default());
        let mut screen = Screen::new(out.clone(), err.clone(), false, false);
        screen.progress(&Progress::default());
        screen.summary(Verb::Send, &Total::default(), false);
        screen.finish().unwrap();
        assert_eq!((out.text(), err.text()), (String::new(), String::new()));
    }

    #[test]
    fn a_closed_pipe_is_no_failure_but_a_full_disk_is() {
        for (kind, fine) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)]
        {
            let out = Paper { fails: Some(kind), ..Paper::default() };
            let err = Paper::default();
            let mut screen = Screen::new(out, err.clone(), false, false);
            for _ in 0..10_000 {
                screen.line(b"a line that is written to nowhere");
            }
            screen.trouble(b"error: x");
            assert_eq!(screen.finish().is_ok(), fine);
            assert!(err.text().starts_with("error: x\n"));
            assert_eq!(err.text().contains("msync: cannot write: "), !fine);
        }
    }
}
