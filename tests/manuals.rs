//! The manual pages, the tables of options and what `--help` of the real programs prints say the
//! same, and the pages are sound.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use makuosan::cli::{self, Flag};
use makuosan::console::error::Code;
use makuosan::console::{Offer, Session};

/// A program: its page, what runs it, its options.
struct Program {
    page: &'static str,
    binary: &'static str,
    flags: &'static [Flag],
}

const PROGRAMS: [Program; 2] = [
    Program {
        page: "makuosan.8",
        binary: env!("CARGO_BIN_EXE_makuosan"),
        flags: cli::daemon::FLAGS,
    },
    Program { page: "msync.1", binary: env!("CARGO_BIN_EXE_msync"), flags: cli::msync::FLAGS },
];

const PAGES: [&str; 5] =
    ["makuosan.8", "msync.1", "makuosan-protocol.7", "ja/makuosan.8", "ja/msync.1"];

/// A program's page in English and in Japanese.
fn both(page: &str) -> [String; 2] {
    [page.to_owned(), format!("ja/{page}")]
}

fn path(page: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("man").join(page)
}

fn read(page: &str) -> String {
    fs::read_to_string(path(page)).unwrap()
}

/// An option as a page or a table has it: `-p`, `--port`, `PORT`; what is not there is empty.
type Spelled = (String, String, String);

fn spelled(flag: &Flag) -> Spelled {
    let short = flag.short.map(|letter| format!("-{letter}")).unwrap_or_default();
    (short, format!("--{}", flag.long), flag.value.unwrap_or_default().to_owned())
}

/// A page's section OPTIONS.
fn options(page: &str) -> String {
    let text = read(page);
    let section = text.split("\n.Sh OPTIONS\n").nth(1).expect("no section OPTIONS");
    section.split("\n.Sh ").next().unwrap().to_owned()
}

/// The options that a page describes in its section OPTIONS, in order: lines like
/// `.It Fl p , Fl -port Ar PORT`.
fn described(page: &str) -> Vec<Spelled> {
    let section = options(page);
    let mut found = Vec::new();
    for line in section.lines().filter(|line| line.starts_with(".It Fl ")) {
        let (mut short, mut long, mut value) = Spelled::default();
        let mut words = line.split_whitespace().skip(1);
        while let Some(word) = words.next() {
            match (word, words.next()) {
                ("Fl", Some(name)) if name.starts_with('-') => long = format!("-{name}"),
                ("Fl", Some(name)) => short = format!("-{name}"),
                ("Ar" | "Cm", Some(name)) => value = name.to_owned(),
                (",", Some("Fl")) => {
                    let name = words.next().unwrap_or_default();
                    long = format!("-{name}");
                }
                other => panic!("{page}: {line}: {other:?}"),
            }
        }
        found.push((short, long, value));
    }
    found
}

fn run(binary: &str, argument: &str) -> (String, Option<i32>) {
    // Nothing of this test's own environment shall be an option.
    let output = Command::new(binary).arg(argument).env_clear().output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn every_code_of_an_error_is_listed_and_no_other() {
    let known: Vec<&str> = Code::ALL.iter().map(|(_, text)| *text).collect();
    for page in both("msync.1") {
        let text = read(&page);
        let table = text.split(".Bl -column \"not_a_directory_in_place\"").nth(1);
        let table = table.and_then(|rest| rest.split(".El").next()).expect("no table of codes");
        let rows = table.lines().filter_map(|line| line.strip_prefix(".It ")).skip(1);
        let listed: Vec<&str> = rows.map(|row| row.split(' ').next().unwrap()).collect();
        assert_eq!(listed, known, "{page}");
    }
    // None is there that is not in the list.
    let source = path("../src/console/error.rs");
    let source = fs::read_to_string(source).unwrap();
    let kinds = source.split("pub enum Code {").nth(1).unwrap().split("\n}").next().unwrap();
    let kinds = kinds.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    assert_eq!(kinds.filter(|line| line.ends_with(',')).count(), known.len() + 1);
}

#[test]
fn the_pages_describe_just_the_options_there_are_in_order() {
    for program in PROGRAMS {
        let table: Vec<Spelled> = program.flags.iter().map(spelled).collect();
        for page in both(program.page) {
            assert_eq!(described(&page), table, "{page}");
        }
    }
}

#[test]
fn the_pages_have_the_defaults_of_the_table() {
    let mut checked = 0;
    for (program, page) in PROGRAMS.iter().flat_map(|p| both(p.page).map(|page| (p, page))) {
        let section = options(&page);
        let items = section.split("\n.It Fl ").skip(1);
        for (flag, item) in program.flags.iter().zip(items) {
            // What one word in parentheses at the end says.
            let last = flag.help.strip_suffix(')').and_then(|help| help.rsplit_once('('));
            let Some((_, default)) = last.filter(|(_, word)| !word.contains(' ')) else { continue };
            let mut words = item
                .split_whitespace()
                .map(|word| word.trim_end_matches(['.', ',', ';', ':', '、']));
            assert!(words.any(|word| word == default), "{page}: {item}");
            checked += 1;
        }
    }
    assert!(checked >= 14, "{checked}");
}

#[test]
fn the_pages_in_japanese_show_the_same_lines_to_type() {
    for program in PROGRAMS {
        let lines = |page: &str| -> Vec<String> {
            let typed = |line: &&str| {
                line.starts_with("$ ") || line.starts_with("# ") || line.starts_with(".Dl ")
            };
            read(page).lines().filter(typed).map(str::to_owned).collect()
        };
        let [english, japanese] = both(program.page).map(|page| lines(&page));
        assert!(japanese.len() >= 7, "{japanese:?}");
        for line in japanese {
            assert!(english.contains(&line), "{line}");
        }
    }
}

#[test]
fn the_pages_in_japanese_explain_the_same_messages() {
    for program in PROGRAMS {
        let messages = |page: &str| -> BTreeSet<String> {
            read(page)
                .lines()
                .filter_map(|line| line.strip_prefix(".It \""))
                .map(str::to_owned)
                .collect()
        };
        let [english, japanese] = both(program.page).map(|page| messages(&page));
        assert!(english.len() >= 20, "{english:?}");
        assert_eq!(english, japanese);
    }
}

#[test]
fn help_shows_every_option() {
    for program in PROGRAMS {
        let (help, status) = run(program.binary, "--help");
        assert_eq!(status, Some(0), "{}", program.binary);
        assert_eq!(run(program.binary, "-h"), (help.clone(), Some(0)));
        for flag in program.flags {
            let (short, long, value) = spelled(flag);
            let names = if short.is_empty() { long } else { format!("{short}, {long}") };
            let wanted = format!("{names} {value}");
            let line = help.lines().find(|line| {
                let line = format!("{} ", line.trim_start());
                line.starts_with(wanted.trim_end()) && line.contains(flag.help)
            });
            assert!(line.is_some(), "{}: {wanted}", program.binary);
        }
    }
}

#[test]
fn the_version_is_the_same_everywhere() {
    let file = |path: &str| {
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    };
    let version = env!("CARGO_PKG_VERSION");
    let spec = file("rpm/makuosan.spec");
    assert!(spec.contains(&format!("\nVersion:        {version}\n")));
    assert!(spec.contains(&format!("> - {version}-1\n")), "the spec's changes");
    assert!(file("rpm/debian/changelog").starts_with(&format!("makuosan ({version}) ")));
    assert!(file("rpm/debian/control").contains("\nVersion: @VERSION@\n"));
    assert!(file("CHANGELOG.md").contains(&format!("\n## [{version}] - ")), "the changelog");
    for program in PROGRAMS {
        let (text, status) = run(program.binary, "--version");
        assert_eq!(status, Some(0));
        assert!(text.ends_with(&format!(" {}\n", env!("CARGO_PKG_VERSION"))), "{text}");
        assert_eq!(run(program.binary, "-V").0, text);
    }
}

/// What follows `macro_name` at the start of a page's list items.
fn items(page: &str, macro_name: &str) -> BTreeSet<String> {
    let start = format!(".It {macro_name} ");
    let text = read(page);
    let lines = text.lines().filter_map(|line| line.strip_prefix(&start));
    lines.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_pages_name_every_variable_and_every_command() {
    let variables = cli::daemon::VARIABLES.iter().map(|(name, _)| (*name).to_owned());
    let variables: BTreeSet<String> = variables.collect();
    let commands = cli::msync::COMMANDS.iter().map(|(name, _)| (*name).to_owned());
    let commands: BTreeSet<String> = commands.collect();
    for page in both("makuosan.8") {
        assert_eq!(items(&page, "Ev"), variables, "{page}");
    }
    for page in both("msync.1") {
        assert_eq!(items(&page, "Ev"), BTreeSet::from([cli::msync::VARIABLE.to_owned()]));
        assert_eq!(items(&page, "Ic"), commands, "{page}");
    }
}

/// What the console answers to a line.
fn console(line: &str) -> String {
    let mut session = Session::new(Offer::ALL);
    session.input(format!("{line}\n").as_bytes());
    assert!(session.next_command().is_none());
    String::from_utf8(session.output().to_vec()).unwrap()
}

#[test]
fn the_page_names_every_command_and_option_of_the_console() {
    let help = console("help");
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let starts = lines.filter(|line| !line.starts_with(' '));
    let mut commands: BTreeSet<String> =
        starts.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(commands.len() >= 14, "{help}");
    // Other names of a command have no line of their own: `md5` has an item, `exit` and `bye` stand
    // beside `quit`.
    assert!(commands.insert("md5".to_owned()));
    for page in both("makuosan.8") {
        let named = items(&page, "Ic").into_iter();
        let named: BTreeSet<_> = named.map(|name| name.trim_end_matches(',').to_owned()).collect();
        assert_eq!(named, commands, "{page}");
    }
    // Each option of `send` is one that msync has and its page describes.
    let known = described("msync.1");
    let options = console("help send");
    let mut count = 0;
    for line in options.lines().filter_map(|line| line.strip_prefix("  -")) {
        let name = format!("-{}", line.split(' ').next().unwrap());
        if name == "--listed" {
            // It is said by a client that was told a list.
            assert!(both("makuosan.8").iter().all(|page| read(page).contains("Fl -listed")));
            continue;
        }
        assert!(known.iter().any(|(short, long, _)| [short, long].contains(&&name)), "{name}");
        count += 1;
    }
    assert!(count >= 9, "{options}");
}

#[test]
fn the_pages_are_sound() {
    for page in PAGES {
        let text = read(page);
        assert!(text.starts_with(".\\\" "), "{page}: no comment that says whose it is");
        let odd = text.lines().find(|line| line.chars().count() > 100 || line.ends_with(' '));
        assert_eq!(odd, None, "{page}");
        let mut lint = Command::new("mandoc");
        match lint.args(["-T", "lint", "-W", "warning"]).arg(path(page)).output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success() && said.is_empty(), "{said}");
            }
            Err(why) => {
                // Not by eprintln!, which the test harness keeps to itself.
                let _ = writeln!(std::io::stderr(), "SKIPPED: mandoc on {page}: {why}");
            }
        }
    }
}

/// How many columns a line takes on a terminal: what is of East Asia takes two, and what was struck
/// over counts once.
fn columns(line: &str) -> usize {
    let mut widths: Vec<usize> = Vec::new();
    for c in line.chars() {
        match c {
            '\u{8}' => drop(widths.pop()),
            '\u{3000}'..='\u{9fff}' | '\u{ff00}'..='\u{ff60}' => widths.push(2),
            _ => widths.push(1),
        }
    }
    widths.iter().sum()
}

#[test]
fn the_pages_fit_80_columns() {
    for page in PAGES {
        let mut render = Command::new("mandoc");
        let Ok(output) = render.args(["-T", "utf8", "-O", "width=80"]).arg(path(page)).output()
        else {
            let _ = writeln!(std::io::stderr(), "SKIPPED: the width of {page}: no mandoc");
            continue;
        };
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().count() > 100, "{page}");
        let wide: Vec<&str> = text.lines().filter(|line| columns(line) > 80).collect();
        assert!(wide.is_empty(), "{page}: {wide:#?}");
    }
}
