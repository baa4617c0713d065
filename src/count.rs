//! How many of something there are, in words.
#![forbid(unsafe_code)]

/// The noun `one` as it stands behind `number`: `file`, `files`, `entries`, `days`.
pub fn noun(number: u64, one: &str) -> String {
    match one.strip_suffix('y') {
        _ if number == 1 => one.to_owned(),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{one}s"),
    }
}

/// `1 host`, `2 entries`.
pub fn counted(number: u64, one: &str) -> String {
    format!("{number} {}", noun(number, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_else_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "file")), ["0 files", "1 file", "2 files"]);
        assert_eq!([0, 1, 2].map(|n| counted(n, "entry")), ["0 entries", "1 entry", "2 entries"]);
        assert_eq!([0, 1, 2].map(|n| counted(n, "day")), ["0 days", "1 day", "2 days"]);
    }
}
