//! What each module may use: the layers that `src/lib.rs` describes, without circles among the files
//! of a layer; kept by reading the source.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "layering/circles.rs"]
mod circles;
#[path = "layering/imports.rs"]
mod imports;

/// The modules, lowest first: each uses only itself and what stands before it.
const LAYERS: [&str; 22] = [
    "time", "name", "errno", "count", "ids", "stamp", "crypto", "wire", "seal", "pattern",
    "engine", "mirror", "console", "cli", "sys", "net", "fs", "log", "watch", "keeping", "daemon",
    "msync",
];

/// How many of the [`LAYERS`] are pure: bytes and decisions, nothing of the system.
const PURE: usize = 14;

/// What pure code has no use for. (Addresses of `std::net` are only numbers.)
const IMPURE: [&[&str]; 12] = [
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["UnixStream"],
    &["UnixListener"],
    &["UnixDatagram"],
    &["ToSocketAddrs"],
    &["Instant"],
    &["SystemTime"],
    &["std", ":", ":", "fs"],
    &["std", ":", ":", "thread"],
    &["std", ":", ":", "process"],
];

/// The packages that both programs may be built from.
const ALLOWED: [&str; 4] = ["libc", "md-5", "blowfish", "getopts"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file at or below `path`.
fn rust_files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.extension().is_some_and(|ext| ext == "rs") {
            found.extend(rust_files(&path));
        }
    }
    found.sort();
    found
}

/// The file of a module and, if it has one, its folder.
fn files_of(module: &str) -> Vec<PathBuf> {
    let src = root().join("src");
    let places = [src.join(format!("{module}.rs")), src.join(module)];
    places.iter().filter(|place| place.exists()).flat_map(|place| rust_files(place)).collect()
}

/// The file that a module begins with.
fn head_of(module: &str) -> PathBuf {
    let src = root().join("src");
    let file = src.join(format!("{module}.rs"));
    if file.exists() { file } else { src.join(module).join("mod.rs") }
}

/// A file's words (letters, digits, underscores) and single other characters, without comments and
/// spaces. The contents of strings stay; that is good enough to find what is looked for here.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        let code = if line.starts_with("//") { "" } else { line };
        let code = code.split(" // ").next().unwrap_or("");
        let mut word = String::new();
        for c in code.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                tokens.push(std::mem::take(&mut word));
            }
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
        }
    }
    tokens
}

fn has(tokens: &[String], wanted: &[&str]) -> bool {
    tokens.windows(wanted.len()).any(|window| window.iter().eq(wanted))
}

/// What a file names after `crate::`, also in braces.
fn crate_uses(tokens: &[String]) -> Vec<String> {
    let mut uses = Vec::new();
    for at in 0..tokens.len() {
        if !has(&tokens[at..(at + 3).min(tokens.len())], &["crate", ":", ":"]) {
            continue;
        }
        let rest = &tokens[at + 3..];
        if rest.first().is_none_or(|token| token != "{") {
            uses.extend(rest.first().cloned());
            continue;
        }
        let (mut depth, mut first) = (0, false);
        for token in rest {
            match token.as_str() {
                "{" => (depth, first) = (depth + 1, depth == 0),
                "}" if depth == 1 => break,
                "}" => depth -= 1,
                "," => first = depth == 1,
                name if first => {
                    uses.push(name.to_owned());
                    first = false;
                }
                _ => {}
            }
        }
    }
    uses
}

#[test]
fn every_module_has_its_layer() {
    let mut found: Vec<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "lib" && name != "bin")
        .collect();
    found.sort();
    found.dedup();
    let mut layers = LAYERS.map(str::to_owned).to_vec();
    layers.sort();
    assert_eq!(found, layers);
}

#[test]
fn each_layer_uses_only_those_before_it() {
    for (at, module) in LAYERS.iter().enumerate() {
        let files = files_of(module);
        assert!(!files.is_empty(), "{module}");
        for file in files {
            for used in crate_uses(&tokens(&fs::read_to_string(&file).unwrap())) {
                let layer = LAYERS.iter().position(|layer| *layer == used);
                assert!(layer.is_none_or(|layer| layer <= at), "{}: crate::{used}", file.display());
            }
        }
    }
}

#[test]
fn pure_modules_have_nothing_of_the_system() {
    for module in &LAYERS[..PURE] {
        for file in files_of(module) {
            let tokens = tokens(&fs::read_to_string(&file).unwrap());
            for wanted in IMPURE {
                assert!(!has(&tokens, wanted), "{}: {}", file.display(), wanted.concat());
            }
        }
    }
}

#[test]
fn unsafe_code_is_in_sys_alone_and_forbidden_in_all_other_layers() {
    let sys = root().join("src/sys");
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let found = has(&tokens(&text), &["unsafe"]);
        assert!(!found || file.starts_with(&sys), "{}: unsafe", file.display());
    }
    for module in &LAYERS[..PURE] {
        let head = head_of(module);
        let text = fs::read_to_string(&head).unwrap();
        let forbids = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
        assert!(forbids, "{}: no #![forbid(unsafe_code)]", head.display());
    }
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    assert!(lib.contains("\n#![deny(unsafe_code)]\n"));
    assert_eq!(lib.matches("allow(unsafe_code)").count(), 1, "sys alone may allow it");
}

#[test]
fn there_are_no_other_dependencies() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut section = "";
    let mut count = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line;
            // Tests do without, a build script would run on every builder's machine, and a
            // dependency of one target, or in a section of its own, would go unseen here.
            assert!(!section.contains("dependencies") || section == "[dependencies]", "{section}");
        } else if section == "[dependencies]" && !line.is_empty() {
            let name = line.split(['=', '.', ' ']).next().unwrap();
            assert!(ALLOWED.contains(&name), "{name}");
            count += 1;
        }
    }
    assert!(count > 0, "no [dependencies] were found");
}

#[test]
fn this_test_sees_what_it_looks_for() {
    let text = "//! unsafe std::fs\nuse crate::{net::Net, name::{A, crate_b}, sys};\n    crate::log::x();\n\
                let x = 1; // Instant\nfn f(i: Instant) { std::fs::read(p) }";
    let tokens = tokens(text);
    assert_eq!(crate_uses(&tokens), ["net", "name", "sys", "log"]);
    assert!(has(&tokens, &["Instant"]) && has(&tokens, &["std", ":", ":", "fs"]));
    assert!(!has(&tokens, &["unsafe"]));
    assert_eq!(tokens.iter().filter(|token| *token == "Instant").count(), 1);
}
