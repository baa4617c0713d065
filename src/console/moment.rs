//! Moments, as people and programs read them.
#![forbid(unsafe_code)]

use crate::time::Span;

/// A moment: seconds since 1970, and the local time as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment(pub i64, pub String);

/// So long.
pub fn lasting(span: Span) -> String {
    match span.millis() / 1_000 {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7_200 => format!("{} min", secs / 60),
        secs => format!("{} h", secs / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let shown = [5, 119, 600, 7_199, 7_200].map(|secs| lasting(Span::from_secs(secs)));
        assert_eq!(shown, ["5 s", "119 s", "10 min", "119 min", "2 h"]);
    }
}
