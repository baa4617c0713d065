//! What a page in Markdown names, and whether it is there.
//!
//! Looked at are spans of code (in backquotes), links, lines of code (indented by four, or fenced), and the
//! third column of tables whose head is `word`, `meaning`, `type`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use makuosan::cli::{self, Flag};

/// What pages may name.
pub struct Repository {
    root: PathBuf,
    makefile: String,
    /// Every Rust file, by its path from the root, and its text.
    rust: Vec<(PathBuf, String)>,
    /// The names of functions, in units and tests.
    functions: BTreeSet<String>,
    /// Every word of the sources of the programs.
    words: BTreeSet<String>,
    /// Every type that is declared there, after the file that declares it.
    types: BTreeSet<(PathBuf, String)>,
}

/// The words of a line of code.
fn code_words(line: &str) -> Vec<&str> {
    let split = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    split.filter(|word| !word.is_empty()).collect()
}

/// The type that a line declares.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with("//") {
        return None;
    }
    // As the macro in src/ids.rs declares its numbers.
    if let Some((name, "u16)" | "u32)")) = line.split_once('(') {
        return Some(name);
    }
    let words = code_words(line);
    let is_keyword = |word: &&str| ["struct", "enum", "trait", "type"].contains(word);
    let at = words.iter().position(is_keyword)?;
    words.get(at + 1).copied()
}

impl Repository {
    /// Reads what there is.
    pub fn read(root: &Path) -> Self {
        let mut rust = Vec::new();
        for folder in ["src", "tests"] {
            rust_files(root, &root.join(folder), &mut rust);
        }
        let (mut functions, mut words, mut types) = Default::default();
        for (path, text) in &rust {
            let all = code_words(text);
            let named = all.windows(2).filter(|two| two[0] == "fn").map(|two| two[1].to_owned());
            BTreeSet::extend(&mut functions, named);
            if path.starts_with("src") {
                BTreeSet::extend(&mut words, all.iter().map(|word| (*word).to_owned()));
                let declared = text.lines().filter_map(declared);
                let declared = declared.map(|name| (path.clone(), name.to_owned()));
                BTreeSet::extend(&mut types, declared);
            }
        }
        let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
        Repository { root: root.to_owned(), makefile, rust, functions, words, types }
    }

    /// Whether there is such a file or directory; `*` stands for any part of a name.
    fn has_path(&self, path: &str) -> bool {
        let Some((dir, name)) = path.rsplit_once('/').filter(|_| path.contains('*')) else {
            return self.root.join(path).exists();
        };
        let (start, end) = name.split_once('*').unwrap_or((name, ""));
        let fits = |name: String| name.starts_with(start) && name.ends_with(end);
        let Ok(mut names) = fs::read_dir(self.root.join(dir)) else { return false };
        names.any(|entry| fits(entry.unwrap().file_name().to_string_lossy().into_owned()))
    }

    fn has_target(&self, target: &str) -> bool {
        let named = |line: &str| {
            let head = line.split_once(':').filter(|_| !line.starts_with(['\t', '#', '.']));
            head.is_some_and(|(names, _)| names.split_whitespace().any(|name| name == target))
        };
        self.makefile.lines().any(named)
    }

    /// Whether a type is declared in a module or below it; `path` is as in `wire::header::Header`, and a
    /// name alone may be anywhere.
    fn has_type(&self, path: &str) -> bool {
        let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
        let place = Path::new("src").join(module.replace("::", "/"));
        let file = place.with_extension("rs");
        self.types
            .iter()
            .filter(|(_, declared)| declared == name)
            .any(|(path, _)| module.is_empty() || *path == file || path.starts_with(&place))
    }

    /// Whether a module or a test that a filter of `cargo test` chooses is there, in the units or in the
    /// test program of some name.
    fn has_test(&self, program: Option<&str>, filter: &str) -> bool {
        let last = filter.rsplit("::").next().unwrap_or(filter);
        let within = |path: &Path| match program {
            None => path.starts_with("src"),
            Some(name) => {
                path.starts_with(Path::new("tests").join(name))
                    || path == Path::new("tests").join(format!("{name}.rs"))
            }
        };
        self.rust.iter().filter(|(path, _)| within(path)).any(|(path, text)| {
            let module = path.with_extension("");
            let module = module.components().any(|part| part.as_os_str() == last);
            let test = text.lines().any(|line| {
                let name = line.trim_start().strip_prefix("fn ");
                name.is_some_and(|rest| rest.split('(').next().unwrap_or("").contains(last))
            });
            module || test
        })
    }

    fn has_test_program(&self, name: &str) -> bool {
        let places = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
        places.iter().any(|place| self.root.join(place).exists())
    }
}

fn rust_files(root: &Path, folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("corpus/seeds") {
            rust_files(root, &path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            into.push((path.strip_prefix(root).unwrap().to_owned(), text));
        }
    }
}

/// How much of a page was checked, and what is wrong in it. `page` is its path from the root.
pub fn problems(repository: &Repository, page: &Path, text: &str) -> (usize, Vec<String>) {
    let mut check = Check { repository, page, text, count: 0, wrong: Vec::new() };
    let (mut fenced, mut glossary) = (false, false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            check.line_of_code(line);
        } else {
            glossary = match line.starts_with('|') {
                false => false,
                true => glossary || line.replace(' ', "") == "|word|meaning|type|",
            };
            if glossary && !line.contains("---") && !line.contains("| type |") {
                check.glossary(line);
            }
            check.prose(line);
        }
    }
    (check.count, check.wrong)
}

struct Check<'a> {
    repository: &'a Repository,
    page: &'a Path,
    text: &'a str,
    count: usize,
    wrong: Vec<String>,
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#')));
    anchors.any(|anchor| anchor == wanted)
}

/// The words of a line of shell, in quotes or not.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

impl Check<'_> {
    fn expect(&mut self, holds: bool, what: &str) {
        self.count += 1;
        if !holds {
            self.wrong.push(format!("there is no {what}"));
        }
    }

    fn prose(&mut self, line: &str) {
        for code in line.split('`').skip(1).step_by(2) {
            self.span(code);
        }
        let mut rest = line;
        while let Some((_, from)) = rest.split_once("](") {
            let Some((target, after)) = from.split_once(')') else { break };
            self.link(target);
            rest = after;
        }
    }

    fn link(&mut self, target: &str) {
        if target.starts_with("https://") {
            return;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let there = match path {
            "" => Some(self.text.to_owned()),
            path => {
                let dir = self.page.parent().unwrap_or(Path::new(""));
                fs::read_to_string(self.repository.root.join(dir).join(path)).ok()
            }
        };
        let holds = there.is_some_and(|text| anchor.is_empty() || has_anchor(&text, anchor));
        self.expect(holds, &format!("target of the link {target}"));
    }

    /// A row of the glossary: its last column names types, in `code`.
    fn glossary(&mut self, line: &str) {
        let last = line.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or("");
        let types: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        self.expect(!types.is_empty(), &format!("type in the row {line}"));
        // Those with a path are looked at as any span of code.
        for name in types.iter().filter(|name| !name.contains("::")) {
            self.expect(self.repository.has_type(name), &format!("type {name}"));
        }
    }

    fn span(&mut self, code: &str) {
        let first = code.split(' ').next().unwrap_or(code);
        if ["make", "cargo", "makuosan", "msync"].contains(&first) && code != first {
            self.command(code);
        } else if code.starts_with('-') && code.len() > 1 && !code.starts_with("-- ") {
            let all = cli::daemon::FLAGS.iter().chain(cli::msync::FLAGS);
            let flags: Vec<&Flag> = all.collect();
            self.option(&flags, first);
        } else if code.contains("::") {
            self.item(code);
        } else if is_path(code) {
            self.path(first);
        }
    }

    fn path(&mut self, path: &str) {
        // What is said of a page is meant from the root, or beside the page.
        let beside = self.page.parent().unwrap_or(Path::new("")).join(path);
        let holds = self.repository.has_path(path)
            || self.repository.has_path(&beside.to_string_lossy())
            || self.is_file_of_the_folder(path);
        self.expect(holds, &format!("file {path}"));
    }

    /// A file named without its folder, as in lists of what is in a folder.
    fn is_file_of_the_folder(&self, name: &str) -> bool {
        let is = |path: &PathBuf| path.file_name().is_some_and(|file| file == name);
        !name.contains('/') && self.repository.rust.iter().any(|(path, _)| is(path))
    }

    /// A type by its module, or a function of a type.
    fn item(&mut self, code: &str) {
        let path = code.split(['(', '<', ' ']).next().unwrap_or(code);
        let (before, last) = path.rsplit_once("::").unwrap_or(("", path));
        let upper = |name: &str| name.starts_with(|c: char| c.is_uppercase());
        let owner = before.rsplit("::").next().unwrap_or("");
        let holds = match (upper(owner), upper(last)) {
            // A variant or constant of a type, or a function of it.
            (true, true) => {
                self.repository.has_type(before) && self.repository.words.contains(last)
            }
            (true, false) => {
                self.repository.has_type(before) && self.repository.functions.contains(last)
            }
            (false, true) => self.repository.has_type(path),
            (false, false) => self.repository.functions.contains(last),
        };
        self.expect(holds, code);
    }

    fn option(&mut self, flags: &[&Flag], word: &str) {
        let name = word.split('=').next().unwrap_or(word);
        if let Some(long) = name.strip_prefix("--") {
            let holds = flags.iter().any(|flag| flag.long == long);
            return self.expect(holds, &format!("option {name}"));
        }
        // `-rn` is `-r -n`; what follows a letter that takes a value is its value.
        for letter in name.chars().skip(1) {
            let found = flags.iter().find(|flag| flag.short == Some(letter));
            self.expect(found.is_some(), &format!("option -{letter}"));
            if found.is_none_or(|flag| flag.value.is_some()) {
                return;
            }
        }
    }

    /// A line of code: commands, perhaps behind a prompt, a variable, or `sudo`.
    fn line_of_code(&mut self, line: &str) {
        let line = line.trim_start();
        let line = match line.split_once(['$', '#']) {
            // `web1# makuosan`, `$ msync`; but not `make  # a comment`.
            Some((host, rest)) if !host.contains(' ') => rest.trim_start(),
            _ => line,
        };
        let line = line.split(" #").next().unwrap_or(line);
        for command in line.split("&&").flat_map(|part| part.split([';', '|'])) {
            self.command(command.trim());
        }
    }

    fn command(&mut self, command: &str) {
        let words = words(command);
        let is_prefix =
            |word: &&String| *word == "sudo" || word.split_once('=').is_some_and(is_variable);
        let skipped = words.iter().take_while(is_prefix).count();
        let Some((program, arguments)) = words[skipped..].split_first() else { return };
        match program.as_str() {
            "make" => {
                let is_target = |word: &&String| !word.contains('=') && !word.starts_with('-');
                for target in arguments.iter().filter(is_target) {
                    self.expect(self.repository.has_target(target), &format!("make {target}"));
                }
            }
            "cargo" => self.cargo(arguments),
            "makuosan" => self.program(cli::daemon::FLAGS, arguments, false),
            "msync" => self.program(cli::msync::FLAGS, arguments, true),
            script if is_path(script) && !script.starts_with('/') => self.path(script),
            _ => {}
        }
    }

    fn program(&mut self, flags: &'static [Flag], arguments: &[String], has_commands: bool) {
        let flags: Vec<&Flag> = flags.iter().collect();
        let mut arguments = arguments.iter();
        let mut command_wanted = has_commands;
        while let Some(word) = arguments.next() {
            if word.starts_with('-') && word.len() > 1 {
                self.option(&flags, word);
                let last = flags.iter().find(|flag| match word.strip_prefix("--") {
                    Some(long) => flag.long == long,
                    None => flag.short.is_some_and(|letter| word.ends_with(letter)),
                });
                if last.is_some_and(|flag| flag.value.is_some()) {
                    arguments.next();
                }
            } else if std::mem::take(&mut command_wanted) {
                let known = cli::msync::COMMANDS.iter().any(|(name, _)| name == word);
                self.expect(known, &format!("command msync {word}"));
            }
        }
    }

    fn cargo(&mut self, arguments: &[String]) {
        const KNOWN: [&str; 9] =
            ["build", "check", "clippy", "doc", "fmt", "fuzz", "install", "run", "test"];
        let arguments: Vec<&str> =
            arguments.iter().map(String::as_str).filter(|word| !word.starts_with('+')).collect();
        let Some((verb, rest)) = arguments.split_first() else { return };
        self.expect(KNOWN.contains(verb), &format!("cargo {verb}"));
        if *verb != "test" {
            return;
        }
        let mut program = None;
        let mut rest = rest.iter();
        while let Some(&word) = rest.next() {
            match word {
                "--" => return,
                "--test" => {
                    let name = rest.next().copied().unwrap_or("");
                    self.expect(
                        self.repository.has_test_program(name),
                        &format!("test program: --test {name}"),
                    );
                    program = Some(name);
                }
                option if option.starts_with('-') => {}
                filter => self.expect(
                    self.repository.has_test(program, filter),
                    &format!("test that {filter} chooses"),
                ),
            }
        }
    }
}

/// Whether what stands before a `=` can be a variable of the shell.
fn is_variable((name, _): (&str, &str)) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Whether a span of code is meant as a path of the repository.
fn is_path(code: &str) -> bool {
    const ENDS: [&str; 8] =
        [".rs", ".md", ".sh", ".toml", ".lock", ".spec", ".settings", ".service"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/*".contains(c);
    let first = code.split('/').next().unwrap_or("");
    code.chars().all(plain)
        && (ENDS.iter().any(|end| code.ends_with(end))
            || code.contains('/')
                && [".ci", "doc", "init.d", "man", "rpm", "src", "tests"].contains(&first))
}
