//! What somebody may have meant who has mistyped a word.

/// The word among `known` that `typed` is a slip of the hand away from: a letter left out, added,
/// replaced, or two of them changed about, for every three letters.
pub fn similar<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let all = known.into_iter().map(|word| (slips(typed.as_bytes(), word.as_bytes()), word));
    let (slips, word) = all.min_by_key(|(slips, _)| *slips)?;
    let longest = typed.len().min(word.len());
    (slips * 3 <= longest.max(3) && longest > 1).then_some(word)
}

/// `, did you mean WORD?`, or nothing.
pub fn did_you_mean(word: Option<&str>) -> String {
    word.map(|word| format!(", did you mean {word}?")).unwrap_or_default()
}

/// How many slips make one word of the other (Damerau and Levenshtein, neighbours only).
fn slips(a: &[u8], b: &[u8]) -> usize {
    // No known word is anywhere near as long as what this would take long for.
    if a.len().abs_diff(b.len()) > 8 || a.len().max(b.len()) > 64 {
        return usize::MAX / 4;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut least = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_told_from_other_words() {
        let known = ["send", "sync", "dsync", "check", "members", "status", "recursive"];
        let found = |typed| similar(typed, known);
        for (typed, meant) in [
            ("sned", "send"),
            ("snd", "send"),
            ("sends", "send"),
            ("member", "members"),
            ("memebrs", "members"),
            ("chekc", "check"),
            ("statsu", "status"),
            ("recursvie", "recursive"),
            ("dsycn", "dsync"),
        ] {
            assert_eq!(found(typed), Some(meant), "{typed}");
        }
        for typed in ["", "s", "htdocs", "missing", "etc", "index.html", "x", "dir", "old", "a/b"] {
            assert_eq!(found(typed), None, "{typed}");
        }
        assert_eq!(similar(&"x".repeat(100_000), known), None);
        assert_eq!(did_you_mean(found("sned")), ", did you mean send?");
    }
}
