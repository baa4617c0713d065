//! Which file of a crate imports which, found by reading the source: by `use`, and by paths such as
//! `crate::a::f()` and `super::b::T`. What is compiled for tests alone is left out.
//!
//! An import leads to the file that *defines* what is imported: a module that only hands on the items
//! of others (`pub use`) hides nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

/// A module's path below the crate's root: `["wire", "header"]`.
type ModulePath = Vec<String>;

/// The imports of a crate: for each file, the files that it imports, each with the path that does it.
pub type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// A word or a single other character of the source, and the line it is on, from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// The tokens of a file. Comments are left out; strings, characters and lifetimes are one token
/// without their contents.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        let began = at;
        let token = match c {
            '/' if next == Some('/') => {
                at += chars[at..].iter().take_while(|&&c| c != '\n').count();
                None
            }
            '/' if next == Some('*') => {
                at = after_block_comment(&chars, at);
                None
            }
            '"' => {
                at = after_string(&chars, at);
                Some("\"\"".to_owned())
            }
            '\'' => {
                at = after_quote(&chars, at);
                Some("''".to_owned())
            }
            c if is_word(c) => {
                at += chars[at..].iter().take_while(|&&c| is_word(c)).count();
                let word: String = chars[began..at].iter().collect();
                let prefix = matches!(word.as_str(), "r" | "b" | "br" | "c" | "cr");
                let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
                match chars.get(at + hashes) {
                    Some('"') if prefix && word.contains('r') => {
                        at = after_raw_string(&chars, at + hashes, hashes);
                        Some("\"\"".to_owned())
                    }
                    Some('"') if prefix && hashes == 0 => {
                        at = after_string(&chars, at);
                        Some("\"\"".to_owned())
                    }
                    Some('\'') if word == "b" && hashes == 0 => {
                        at = after_quote(&chars, at);
                        Some("''".to_owned())
                    }
                    _ => Some(word),
                }
            }
            c => {
                at += 1;
                (!c.is_whitespace()).then(|| c.to_string())
            }
        };
        tokens.extend(token.map(|text| Token { text, line }));
        line += chars[began..at].iter().filter(|&&c| c == '\n').count();
    }
    tokens
}

fn after_block_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The place behind a string whose first quote is at `start`.
fn after_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn after_raw_string(chars: &[char], start: usize, hashes: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        at += 1;
        let ends = chars[at - 1] == '"'
            && chars.len() >= at + hashes
            && chars[at..at + hashes].iter().all(|&c| c == '#');
        if ends {
            return at + hashes;
        }
    }
    at
}

/// The place behind a character or a lifetime that begins at `start`.
fn after_quote(chars: &[char], start: usize) -> usize {
    if chars.get(start + 1) == Some(&'\\') {
        let rest = chars.iter().skip(start + 3);
        return (start + 4 + rest.take_while(|&&c| c != '\'').count()).min(chars.len());
    }
    if chars.get(start + 2) == Some(&'\'') {
        return start + 3;
    }
    let rest = chars.iter().skip(start + 1);
    start + 1 + rest.take_while(|c| c.is_alphanumeric() || **c == '_').count()
}

/// Where the items are that `#[cfg(test)]` stands before.
fn test_items(tokens: &[Token]) -> Vec<Range<usize>> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let mut items = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !CFG_TEST.iter().enumerate().all(|(n, text)| is(at + n, text)) {
            at += 1;
            continue;
        }
        let start = at;
        at += CFG_TEST.len();
        // Further attributes belong to the same item.
        while is(at, "#") && is(at + 1, "[") {
            at = after_group(tokens, at + 1);
        }
        // It ends with its first semicolon or its first braces.
        while at < tokens.len() && !is(at, ";") && !is(at, "{") {
            at = if is(at, "(") || is(at, "[") { after_group(tokens, at) } else { at + 1 };
        }
        at = if is(at, "{") { after_group(tokens, at) } else { at + 1 };
        // A `use` with braces has a semicolon behind them.
        at = (at + usize::from(is(at, ";"))).min(tokens.len());
        items.push(start..at);
    }
    items
}

/// The tokens of a file without the items that are for tests alone.
fn code(text: &str) -> Vec<Token> {
    let tokens = tokens(text);
    let tests = test_items(&tokens);
    let in_tests = |at: usize| tests.iter().any(|item| item.contains(&at));
    let left = tokens.iter().enumerate().filter(|(at, _)| !in_tests(*at));
    left.map(|(_, token)| token.clone()).collect()
}

/// How many lines a file has, those of its tests aside.
pub fn lines_of_code(text: &str) -> usize {
    let tokens = tokens(text);
    let items = test_items(&tokens);
    let of_tests = items.iter().map(|at| tokens[at.end - 1].line + 1 - tokens[at.start].line);
    text.lines().count() - of_tests.sum::<usize>()
}

/// The place behind the brackets, of any kind, that open at `start`.
fn after_group(tokens: &[Token], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// What a `use` brings into a module.
#[derive(Debug)]
struct Use {
    /// The name it has there; `*` for all names.
    name: String,
    path: Vec<String>,
    is_pub: bool,
}

/// A module: what its file, or its braces, say.
#[derive(Default, Debug)]
struct Module {
    file: String,
    children: HashSet<String>,
    /// The names of the items that it defines itself.
    items: HashSet<String>,
    uses: Vec<Use>,
    /// Paths that its code names, outside of `use`.
    paths: BTreeSet<Vec<String>>,
    /// All words of its code, outside of `use`.
    words: HashSet<String>,
}

/// The modules of a crate.
struct Crate<'a> {
    texts: HashMap<&'a str, &'a str>,
    /// What of a file's text is read.
    reader: fn(&str) -> Vec<Token>,
    modules: HashMap<ModulePath, Module>,
}

/// The imports among `files`: their paths below `src/`, and their text.
pub fn imports(files: &[(String, String)]) -> Imports {
    let all = Crate::new(files, code);
    let mut found = Imports::new();
    for (path, module) in &all.modules {
        let entry = found.entry(module.file.clone()).or_default();
        let uses = module.uses.iter().filter(|one| !one.is_pub || module.words.contains(&one.name));
        let mut named: Vec<Vec<String>> = uses.map(|one| one.path.clone()).collect();
        named.extend(module.paths.iter().cloned());
        if module.uses.iter().any(|one| one.name == "*") {
            // Any word may come from there.
            let words: BTreeSet<&String> = module.words.iter().collect();
            named.extend(words.into_iter().map(|word| vec![word.clone()]));
        }
        for name in named {
            if let Some(file) = all.definer(path, &name).filter(|file| *file != module.file) {
                entry.entry(file).or_insert_with(|| name.join("::"));
            }
        }
    }
    found
}

/// The files that a crate is made of, with those for tests.
pub fn files_of_crate(files: &[(String, String)]) -> BTreeSet<String> {
    Crate::new(files, tokens).modules.into_values().map(|module| module.file).collect()
}

impl<'a> Crate<'a> {
    fn new(files: &'a [(String, String)], reader: fn(&str) -> Vec<Token>) -> Self {
        let texts: HashMap<&str, &str> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let mut all = Crate { texts, reader, modules: HashMap::new() };
        if let Some(text) = all.texts.get("lib.rs") {
            all.read(Vec::new(), "lib.rs", &reader(text));
        }
        all
    }

    /// Reads a module and those that it declares: files that are declared for tests alone are never
    /// reached if the reader leaves tests out.
    fn read(&mut self, path: ModulePath, file: &str, code: &[Token]) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let text = |at: usize| code.get(at).map_or("", |token: &Token| token.text.as_str());
        let mut inline = Vec::new();
        let (mut at, mut depth) = (0, 0_usize);
        while at < code.len() {
            let before = if at == 0 { "" } else { text(at - 1) };
            match text(at) {
                "mod" if text(at + 2) == ";" => {
                    module.children.insert(text(at + 1).to_owned());
                    at += 3;
                }
                "mod" if text(at + 2) == "{" => {
                    let end = after_group(code, at + 2);
                    module.children.insert(text(at + 1).to_owned());
                    inline.push((text(at + 1).to_owned(), code[at + 3..end - 1].to_vec()));
                    at = end;
                }
                "use" => {
                    let end = at + code[at..].iter().take_while(|t| t.text != ";").count();
                    let is_pub = before == "pub" || (before == ")" && has_pub(code, at));
                    use_tree(&code[at + 1..end], &[], is_pub, &mut module.uses);
                    at = end + 1;
                }
                "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "fn"
                    if depth == 0 =>
                {
                    // Between them may stand other words: `const unsafe fn f`, `static mut X`.
                    let name = (at + 1..at + 4)
                        .map(text)
                        .find(|word| !["fn", "unsafe", "extern", "async", "mut"].contains(word));
                    module.items.extend(name.map(str::to_owned));
                    at += 1;
                }
                "macro_rules" => {
                    module.items.insert(text(at + 2).to_owned());
                    at = after_group(code, at + 3);
                }
                word if is_name(word) && before != "." => {
                    let (segments, next) = path_at(code, at);
                    module.words.insert(segments[0].clone());
                    if segments.len() > 1 {
                        module.paths.insert(segments);
                    }
                    at = next;
                }
                bracket => {
                    match bracket {
                        "(" | "[" | "{" => depth += 1,
                        ")" | "]" | "}" => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    at += 1;
                }
            }
        }
        let declared: Vec<String> = module.children.iter().cloned().collect();
        let inner: Vec<&String> = inline.iter().map(|(name, _)| name).collect();
        for name in declared.iter().filter(|name| !inner.contains(name)) {
            let folder: String = path.iter().map(|part| format!("{part}/")).collect();
            let places = [format!("{folder}{name}.rs"), format!("{folder}{name}/mod.rs")];
            let found = places.iter().find_map(|place| self.texts.get_key_value(place.as_str()));
            if let Some((&place, &text)) = found {
                let below = path.iter().chain([name]).cloned().collect();
                self.read(below, place, &(self.reader)(text));
            }
        }
        for (name, code) in inline {
            let below = path.iter().cloned().chain([name]).collect();
            self.read(below, file, &code);
        }
        self.modules.insert(path, module);
    }

    /// The file that defines what `path` names in the module `from`; None for what is not of this
    /// crate, and for modules, which are not imported themselves but by what is used of them.
    fn definer(&self, from: &[String], path: &[String]) -> Option<String> {
        match self.resolve(from, path, &mut HashSet::new())? {
            Found::Item(file) => Some(file),
            Found::Module(_) => None,
        }
    }

    fn resolve(
        &self,
        from: &[String],
        path: &[String],
        seen: &mut HashSet<(ModulePath, Vec<String>)>,
    ) -> Option<Found> {
        if !seen.insert((from.to_vec(), path.to_vec())) {
            return None;
        }
        let mut module = from.to_vec();
        let mut rest = path;
        let mut named = false;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => module.clear(),
                "self" => {}
                "super" => drop(module.pop()),
                _ => break,
            }
            named = true;
            rest = others;
        }
        while let Some((first, others)) = rest.split_first() {
            let here = self.modules.get(&module)?;
            if here.children.contains(first) {
                module.push(first.clone());
                // A child that is not read is for tests alone.
                self.modules.get(&module)?;
                (rest, named) = (others, true);
                continue;
            }
            if here.items.contains(first) {
                return Some(Found::Item(here.file.clone()));
            }
            let one = here.uses.iter().find(|one| one.name == *first);
            if let Some(found) = one.and_then(|one| self.resolve(&module, &one.path, seen)) {
                match found {
                    Found::Item(file) => return Some(Found::Item(file)),
                    Found::Module(target) => {
                        (module, rest, named) = (target, others, true);
                        continue;
                    }
                }
            }
            if one.is_some() {
                // It comes from another crate.
                return None;
            }
            for glob in here.uses.iter().filter(|one| one.name == "*") {
                let Some(Found::Module(target)) = self.resolve(&module, &glob.path, seen) else {
                    continue;
                };
                let all = self.modules.get(&target)?;
                let exported = all.items.contains(first)
                    || all.children.contains(first)
                    || all.uses.iter().any(|one| one.is_pub && one.name == *first);
                if exported {
                    return self.resolve(&target, rest, seen);
                }
            }
            // A name that nothing here declares: an item that a macro makes, if the path leads into
            // this crate; else something of the prelude or of another crate.
            return named.then(|| Found::Item(here.file.clone()));
        }
        named.then_some(Found::Module(module))
    }
}

enum Found {
    /// The file of the item.
    Item(String),
    Module(ModulePath),
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Whether the bracket that closes before `at` is that of `pub(...)`.
fn has_pub(code: &[Token], at: usize) -> bool {
    let open = code[..at].iter().rposition(|token| token.text == "(");
    open.and_then(|open| open.checked_sub(1)).is_some_and(|at| code[at].text == "pub")
}

/// The names joined by `::` from `start` on, and the place behind them. Generic arguments end a path:
/// what is in them begins another one.
fn path_at(code: &[Token], start: usize) -> (Vec<String>, usize) {
    let text = |at: usize| code.get(at).map_or("", |token: &Token| token.text.as_str());
    let mut names = vec![text(start).to_owned()];
    let mut at = start + 1;
    while text(at) == ":" && text(at + 1) == ":" && is_name(text(at + 2)) {
        names.push(text(at + 2).to_owned());
        at += 3;
    }
    (names, at)
}

/// Takes a `use` apart: `a::{b, c::d as e, f::*, self}`.
fn use_tree(code: &[Token], prefix: &[String], is_pub: bool, into: &mut Vec<Use>) {
    let mut path = prefix.to_vec();
    let mut at = 0;
    while let Some(token) = code.get(at) {
        match token.text.as_str() {
            "{" => {
                let end = after_group(code, at);
                let (mut from, mut inner) = (at + 1, at + 1);
                while inner < end {
                    match code[inner].text.as_str() {
                        "{" => {
                            inner = after_group(code, inner);
                            continue;
                        }
                        "," => {
                            use_tree(&code[from..inner], &path, is_pub, into);
                            from = inner + 1;
                        }
                        _ => {}
                    }
                    inner += 1;
                }
                return use_tree(&code[from..end - 1], &path, is_pub, into);
            }
            "*" => {
                return into.push(Use { name: "*".to_owned(), path, is_pub });
            }
            "as" => {
                let name = code.get(at + 1).map_or(String::new(), |token| token.text.clone());
                return into.push(Use { name, path, is_pub });
            }
            // `a::{self}` is `a`; `self::a` begins here.
            "self" if !path.is_empty() => {}
            name if is_name(name) => path.push(name.to_owned()),
            _ => {}
        }
        at += 1;
    }
    if let Some(name) = path.last().filter(|_| path.len() > prefix.len() || !code.is_empty()) {
        into.push(Use { name: name.clone(), path: path.clone(), is_pub });
    }
}

/// The circles of these imports: each is a set of files that all reach each other, in order.
pub fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let reaches: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|file| (file, reached(imports, file))).collect();
    let mut circles: Vec<Vec<String>> = Vec::new();
    for (file, below) in &reaches {
        let back = below.iter().filter(|other| reaches[*other].contains(file));
        let circle: Vec<String> = back.map(|file| (*file).clone()).collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

/// All files that `file` imports, directly or by way of others.
fn reached<'a>(imports: &'a Imports, file: &String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&String> = imports.get(file).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(file) = next.pop() {
        if seen.insert(file) {
            next.extend(imports.get(file).into_iter().flat_map(BTreeMap::keys));
        }
    }
    seen
}

/// The imports within a circle, one a line.
pub fn shown(imports: &Imports, circle: &[String]) -> String {
    let mut text = String::new();
    for file in circle {
        for (other, path) in imports[file].iter().filter(|(other, _)| circle.contains(other)) {
            text += &format!("    {file} imports {path} of {other}\n");
        }
    }
    text
}
