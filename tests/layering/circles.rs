//! No two files of `src/` import each other, directly or by way of others; and none is too long.

use std::fs;

use super::imports::{Imports, circles, files_of_crate, imports, lines_of_code, shown};
use super::{root, rust_files};

/// The most lines of a file, those of its tests aside.
const MOST_LINES: usize = 500;

/// The rooms of the daemon: each uses only itself, what stands before it, and the files beside them.
const ROOMS: [&str; 5] = ["reporting", "receiving", "sending", "control", "setup"];

/// Every file of `src/`, by its path below that, and its text.
fn source() -> Vec<(String, String)> {
    let src = root().join("src");
    let files = rust_files(&src);
    let text = |path| fs::read_to_string(path).unwrap();
    let name = |path: &std::path::Path| path.strip_prefix(&src).unwrap().display().to_string();
    files.iter().map(|path| (name(path), text(path))).collect()
}

#[test]
fn no_two_files_import_each_other() {
    let imports = imports(&source());
    let shown: Vec<String> =
        circles(&imports).iter().map(|circle| shown(&imports, circle)).collect();
    assert!(shown.is_empty(), "these files import each other:\n{}", shown.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let source = source();
    let code = imports(&source);
    for (file, text) in source.iter().filter(|(file, _)| code.contains_key(file)) {
        let lines = lines_of_code(text);
        assert!(lines <= MOST_LINES, "{file} has {lines} lines without its tests");
    }
}

#[test]
fn each_room_of_the_daemon_uses_only_those_before_it() {
    let room = |file: &str| {
        let (name, _) = file.strip_prefix("daemon/")?.split_once('/')?;
        let at = ROOMS.iter().position(|room| *room == name);
        Some(at.unwrap_or_else(|| panic!("{file} is in no room that is listed")))
    };
    let imports = imports(&source());
    for (file, imported) in imports.iter().filter(|(file, _)| file.starts_with("daemon/")) {
        for (other, path) in imported {
            let Some(used) = room(other) else { continue };
            // What the rooms share knows none of them.
            let allowed = match room(file) {
                Some(own) => used <= own,
                None => file == "daemon/mod.rs",
            };
            assert!(allowed, "{file} imports {path} of {other}");
        }
    }
    let found: Vec<&str> = imports.keys().filter_map(|file| Some(ROOMS[room(file)?])).collect();
    assert!(ROOMS.iter().all(|room| found.contains(room)), "{found:?}");
}

#[test]
fn every_file_is_part_of_the_crate() {
    let source = source();
    let read = files_of_crate(&source);
    for (file, _) in &source {
        assert!(read.contains(file) || file.starts_with("bin/"), "{file} is declared nowhere");
    }
}

/// The imports among made-up files.
fn of(files: &[(&str, &str)]) -> Imports {
    let own = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
    imports(&files.iter().map(own).collect::<Vec<_>>())
}

/// Whether the file `from` imports the file `to`, if `text` is what stands in `from`.
fn finds(text: &str) -> bool {
    let imports = of(&[
        ("lib.rs", "pub mod a; pub mod b;"),
        ("a/mod.rs", "mod from; pub mod re { pub use super::super::b::to::Item as Other; }"),
        ("a/from.rs", text),
        ("b/mod.rs", "pub mod to; pub mod far; pub use to::Item; pub use to::*;"),
        ("b/to.rs", "pub struct Item; pub fn f() {} pub const X: u8 = 1; made! { Made }"),
        ("b/far.rs", "pub use super::Item; pub struct Far;"),
    ]);
    imports["a/from.rs"].contains_key("b/to.rs")
}

#[test]
fn imports_are_found_however_they_are_written() {
    let found = [
        "use crate::b::to::Item;",
        "use crate::b::to::{self, f};",
        "use crate::{b::{far::Far, to::{Item as I, f}}};",
        "use super::super::b::to::*; fn g() { f(); }",
        "use crate::b::to; fn g() { to::f() }",
        "use crate::b; fn g() -> u8 { b::to::X }",
        "fn g() { crate::b::to::f() }",
        "fn g() { let x = super :: super :: b::to::f(); }",
        "fn g(x: Option<crate::b::to::Item>) {}",
        "fn g() { use crate::b::to::f; f() }",
        "mod inner { fn g() { super::super::super::b::to::f() } }",
        "fn g() -> char { 'x'; '\\''; '\"'; crate::b::to::f() }",
        "fn g<'a>(x: &'a crate::b::to::Item) {}",
        "/* /* */ \" */ use crate::b::to::f;",
        "const S: &str = r#\"a \" b\"#; use crate::b::to::f;",
        "#[cfg(test)] mod tests; use crate::b::to::f;",
        "#[cfg(test)] use crate::b::{far::Far, to::Item}; use crate::b::to::f;",
        // Through those that only hand it on.
        "use crate::b::Item;",
        "use crate::b::far::Item;",
        "use crate::a::re::Other;",
        "use crate::b::f;",
        "use crate::b::to::Made;",
        "fn g() { crate::b::Item::new() }",
    ];
    for text in found {
        assert!(finds(text), "{text}");
    }
    let not_found = [
        "use crate::b::far::Far;",
        "use crate::b;",
        "// use crate::b::to::f;\n//! crate::b::to::f()",
        "/* use crate::b::to::f; */",
        "const S: &str = \"use crate::b::to::f;\\\" crate::b::to::f()\";",
        "const S: &str = r#\"\" crate::b::to::f()\"#;",
        "#[cfg(test)] mod tests { use crate::b::to::f; }",
        "#[cfg(test)]\n#[allow(x)]\nfn g([u8; 3]) { crate::b::to::f() }",
        "#[cfg(test)] use crate::b::{far::Far, to::Item};",
        "use std::b::to::f; fn g() { to::f() }",
        "fn g(b: B) { b.to.f() }",
    ];
    for text in not_found {
        assert!(!finds(text), "{text}");
    }
}

#[test]
fn circles_are_found_whatever_lies_between() {
    let through = |between: &str| {
        let imports = of(&[
            ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", between),
            ("c/mod.rs", "mod x; mod y; pub use x::X;"),
            ("c/x.rs", "pub struct X; fn f() { crate::a::g() }"),
            ("c/y.rs", "use super::X;"),
            ("d.rs", "use crate::a::A;"),
            ("e.rs", "use crate::d::D; use crate::e::F; struct F;"),
        ]);
        circles(&imports)
    };
    assert_eq!(through("pub struct B;"), Vec::<Vec<String>>::new());
    // A module that only hands on is part of no circle, and hides none.
    assert_eq!(through("use crate::c::X;"), [["a.rs", "b.rs", "c/x.rs"]]);
    assert_eq!(through("fn f() { crate::d::f() }"), [["a.rs", "b.rs", "d.rs"]]);
    assert_eq!(through("use crate::a::A;"), [["a.rs", "b.rs"]]);

    let imports = of(&[
        ("lib.rs", "mod p;"),
        ("p/mod.rs", "mod q; mod r; pub use q::Q; struct P; fn f(x: r::R) {}"),
        ("p/q.rs", "use super::P;"),
        ("p/r.rs", "use super::P;"),
    ]);
    // To hand on is no import; to use is one.
    let circles = circles(&imports);
    assert_eq!(circles, [["p/mod.rs", "p/r.rs"]]);
    let shown = shown(&imports, &circles[0]);
    assert_eq!(shown.lines().next(), Some("    p/mod.rs imports r::R of p/r.rs"));
}

#[test]
fn lines_of_tests_do_not_count() {
    let text =
        "struct A;\n\n#[cfg(test)]\nfn quick() {\n}\n\nfn f() {}\n#[cfg(test)]\nmod tests {\n\n}\n";
    assert_eq!(lines_of_code(text), 4);
    assert_eq!(lines_of_code("#[cfg(test)]\nmod tests;\nstruct A;\n"), 1);
    assert_eq!(lines_of_code("// one\n\n// three\n"), 3);
}
