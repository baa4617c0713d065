//! What `doctor` finds: points that are looked at, each with what was seen and what to do about it.
//!
//! What is seen is handed in; here it is only judged. What cannot be known is no fault.
#![forbid(unsafe_code)]

use super::json::quoted;

mod group;
mod host;
mod mirrors;
mod probe;

pub use group::{About, GroupFacts, MemberFacts, of_group};
pub use host::{Counted, HostFacts, LinkFacts, of_host};
pub use probe::{ProbeFacts, Probed, of_probe};

/// How a point fares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Grade {
    /// As it should be, as far as that can be known.
    Ok,
    /// It works, and could be better, or soon does not.
    Warn,
    /// Something does not work.
    Fail,
}

impl Grade {
    /// As lines and programs have it.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
        }
    }
}

/// One point, and how it fares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The point, in a word that never changes.
    pub check: &'static str,
    /// The host that it is about, by its name; or by its address, if it is no member.
    pub host: String,
    /// How it fares.
    pub grade: Grade,
    /// What was seen.
    pub text: String,
    /// What to do; empty if nothing.
    pub advice: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, host: &str, text: impl Into<String>) -> Self {
        Self::new(check, host, Grade::Ok, text.into(), "")
    }

    /// It could be better.
    pub fn warn(check: &'static str, host: &str, text: impl Into<String>, advice: &str) -> Self {
        Self::new(check, host, Grade::Warn, text.into(), advice)
    }

    /// It does not work.
    pub fn fail(check: &'static str, host: &str, text: impl Into<String>, advice: &str) -> Self {
        Self::new(check, host, Grade::Fail, text.into(), advice)
    }

    fn new(check: &'static str, host: &str, grade: Grade, text: String, advice: &str) -> Self {
        Finding { check, host: host.to_owned(), grade, text, advice: advice.to_owned() }
    }

    /// In a line for people.
    pub fn line(&self) -> String {
        let Finding { check, host, grade, text, advice } = self;
        let colon = if advice.is_empty() { "" } else { ": " };
        format!("{:4} {host} {check}: {text}{colon}{advice}", grade.word())
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let advice = match self.advice.is_empty() {
            true => "null".to_owned(),
            false => quoted(&self.advice),
        };
        format!(
            "{{\"check\":{},\"host\":{},\"result\":{},\"text\":{},\"advice\":{advice}}}",
            quoted(self.check),
            quoted(&self.host),
            quoted(self.grade.word()),
            quoted(&self.text),
        )
    }
}

/// The answer to `doctor`: a line for each.
pub fn doctor(findings: &[Finding], json: bool) -> String {
    let line = |finding: &Finding| if json { finding.json() } else { finding.line() } + "\n";
    findings.iter().map(line).collect()
}

/// Whether a line of the answer tells of something that failed; None if it is no such line.
pub fn has_failed(line: &[u8], json: bool) -> Option<bool> {
    let line = std::str::from_utf8(line).ok()?;
    let word = match json {
        true => super::json::Value::parse(line)?.get("result")?.text()?.to_owned(),
        false => line.split(' ').next()?.to_owned(),
    };
    [Grade::Ok, Grade::Warn, Grade::Fail]
        .iter()
        .find(|grade| grade.word() == word)
        .map(|grade| *grade == Grade::Fail)
}

/// So many bytes.
fn bytes(number: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) if number / unit < 10 && number % unit != 0 => {
            format!("{:.1} {name}", number as f64 / *unit as f64)
        }
        Some((unit, name)) => format!("{} {name}", number / unit),
        None => format!("{number} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_for_people_and_an_object_for_programs() {
        let fine = Finding::ok("mtu", "web1", "1500 bytes");
        let bad = Finding::fail("space", "web1", "it is \"full\"", "make room");
        assert_eq!(fine.line(), "ok   web1 mtu: 1500 bytes");
        assert_eq!(bad.line(), "fail web1 space: it is \"full\": make room");
        assert_eq!(
            doctor(&[fine.clone(), bad.clone()], true),
            "{\"check\":\"mtu\",\"host\":\"web1\",\"result\":\"ok\",\"text\":\"1500 bytes\",\"advice\":null}\n\
             {\"check\":\"space\",\"host\":\"web1\",\"result\":\"fail\",\"text\":\"it is \\\"full\\\"\",\
             \"advice\":\"make room\"}\n"
        );
        for (finding, failed) in [(fine, false), (bad, true)] {
            assert_eq!(has_failed(finding.line().as_bytes(), false), Some(failed));
            assert_eq!(has_failed(finding.json().as_bytes(), true), Some(failed));
        }
        for line in ["usage: doctor", "", "failure", "{}", "error: x"] {
            assert_eq!(has_failed(line.as_bytes(), false), None, "{line}");
            assert_eq!(has_failed(line.as_bytes(), true), None, "{line}");
        }
    }

    #[test]
    fn amounts_read_well() {
        let shown = [0, 1_023, 1_024, 1_536, 425_984, 16 << 20, 3 << 40].map(bytes);
        let want = ["0 bytes", "1023 bytes", "1 KiB", "1.5 KiB", "416 KiB", "16 MiB", "3 TiB"];
        assert_eq!(shown, want);
    }
}
