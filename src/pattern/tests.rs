//! What patterns match, and how lists of them travel.

use super::*;
use crate::name::RelPath;
use crate::wire::Error;
use crate::wire::bytes::Reader;

fn path(text: &str) -> RelPath {
    match text {
        "" => RelPath::base(),
        _ => RelPath::parse(text.as_bytes()).unwrap(),
    }
}

fn list(rules: &[&str]) -> Patterns {
    let rules = rules.iter().map(|rule| match rule.split_at(2) {
        ("+ ", pattern) => Rule::include(pattern.as_bytes()),
        (_, pattern) => Rule::exclude(pattern.as_bytes()),
    });
    Patterns::new(&rules.collect::<Vec<_>>()).unwrap()
}

fn matches(pattern: &str, name: &str) -> bool {
    let patterns = Patterns::new(&[Rule::exclude(pattern.as_bytes())]).unwrap();
    patterns.excludes(&path(name), false)
}

#[test]
fn one_component() {
    let yes = [
        ("a", "a"),
        ("*.tmp", ".tmp"),
        ("*", ".x"),
        ("?x", ".x"),
        ("[.]x", ".x"),
        ("[ab]", "a"),
        ("[ab]", "b"),
        ("[!a-z]", "A"),
        ("[^a-z]", "A"),
        ("[a-cx-z]9", "y9"),
        ("[]a]", "]"),
        ("[!]a]", "b"),
        ("[a-]", "-"),
        ("[-a]", "-"),
        ("[a\\]]", "]"),
        ("[\\a-\\c]", "b"),
        ("[[:digit:]_]*", "7x"),
        ("[![:space:]]", "x"),
        ("[[:wrong:]]", "[]"),
        ("[[:alpha]", ":"),
        ("\\*", "*"),
        ("a\\b", "ab"),
        ("\\[a]", "[a]"),
        ("[a", "[a"),
        ("a]", "a]"),
        ("**a**b**", "xaxxbx"),
        ("a*b*c", "aXbXbXc"),
        ("*ab", "aab"),
        ("a b", "a b"),
        ("?", "x"),
    ];
    for (pattern, name) in yes {
        assert!(matches(pattern, name), "{pattern} {name}");
    }
    let no = [
        ("a", "A"),
        ("a", "ab"),
        ("ab", "a"),
        ("*.tmp", "tmp"),
        ("[ab]", "c"),
        ("[ab]", "ab"),
        ("[!a-z]", "q"),
        ("[z-a]", "m"),
        ("[]", "x"),
        ("\\*", "x"),
        ("a*b*c", "aXcXb"),
        ("??", "x"),
        ("[[:upper:]]", "x"),
    ];
    for (pattern, name) in no {
        assert!(!matches(pattern, name), "{pattern} {name}");
    }
    // One byte, not one character.
    assert!(!matches("?", "é") && matches("??", "é") && matches("é", "é"));
}

#[test]
fn every_byte_can_be_meant() {
    for byte in (1..=255_u8).filter(|byte| !b"/.".contains(byte)) {
        let name = RelPath::parse(&[b'x', byte]).unwrap();
        for pattern in [&[b'x', b'\\', byte][..], &[b'x', b'[', b'\\', byte, b']']] {
            let patterns = Patterns::new(&[Rule::exclude(pattern)]).unwrap();
            assert!(patterns.excludes(&name, false), "{byte}");
            assert!(!patterns.excludes(&path("xx2"), false));
        }
    }
}

#[test]
fn tails_at_slashes() {
    for tail in ["c", "b/c", "a/b/c", "*", "*/c", "*/*/*", "/a/b/c", "b\\/c", "b//c", "/*/b/c"] {
        assert!(matches(tail, "a/b/c"), "{tail}");
    }
    for other in ["b", "a", "a/b", "/c", "/b/c", "a*c", "a?b/c", "x/a/b/c", "[b/]c", "*/*/*/*"] {
        assert!(!matches(other, "a/b/c"), "{other}");
    }
    // A slash ends a set, whose bracket is then an ordinary byte.
    assert!(matches("a[b/c]d", "a[b/c]d"));
    assert!(!matches("*", ""), "the base itself is never excluded");
}

#[test]
fn a_trailing_slash_is_for_directories() {
    let patterns = list(&["- cache/", "- /top/", "- a/b/"]);
    assert!(patterns.excludes(&path("x/cache"), true));
    assert!(!patterns.excludes(&path("x/cache"), false));
    assert!(patterns.excludes(&path("top"), true));
    assert!(!patterns.excludes(&path("x/top"), true));
    assert!(patterns.excludes(&path("x/a/b"), true));
}

#[test]
fn the_first_match_decides() {
    let patterns = list(&["+ keep.tmp", "- *.tmp", "+ *"]);
    assert!(!patterns.excludes(&path("a/keep.tmp"), false));
    assert!(patterns.excludes(&path("a/x.tmp"), false));
    assert!(!patterns.excludes(&path("a/x"), false));
    let reversed = list(&["- *.tmp", "+ keep.tmp"]);
    assert!(reversed.excludes(&path("keep.tmp"), false));
    assert!(!Patterns::default().excludes(&path("a"), false));
}

#[test]
fn what_is_no_pattern_says_why() {
    for (pattern, why) in [
        (&b""[..], PatternError::Empty),
        (b"/", PatternError::Empty),
        (b"//", PatternError::Empty),
        (b"\\", PatternError::Backslash),
        (b"a\\\\\\", PatternError::Backslash),
        (b"[a\\", PatternError::Backslash),
        (&[b'x'; MAX_PATTERN + 1], PatternError::TooLong),
    ] {
        assert_eq!(check(pattern), Err(why));
        assert_eq!(Patterns::new(&[Rule::exclude(pattern)]), Err(why));
    }
    assert_eq!(check(&[b'x'; MAX_PATTERN]), Ok(()));
    let rule = Rule::exclude(b"x");
    assert!(Patterns::new(&vec![rule.clone(); MAX_RULES]).is_ok());
    assert_eq!(Patterns::new(&vec![rule; MAX_RULES + 1]), Err(PatternError::TooMany));
    let sets = Rule::exclude("[ab]".repeat(250).as_bytes());
    assert!(Patterns::new(&vec![sets.clone(); 260]).is_ok());
    assert_eq!(Patterns::new(&vec![sets; 261]), Err(PatternError::TooManySets));
    let long = Rule::exclude(&[b'x'; MAX_PATTERN]);
    let most = MAX_TEXT / MAX_PATTERN;
    assert!(Patterns::new(&vec![long.clone(); most]).is_ok());
    assert_eq!(Patterns::new(&vec![long; most + 1]), Err(PatternError::TooMuch));
}

#[test]
fn what_somebody_writes_is_looked_at_more_closely_than_what_arrives() {
    for (pattern, why) in [
        (&b"# x"[..], PatternError::Comment),
        (b";", PatternError::Comment),
        (b"- *.keep", PatternError::Rule),
        (b"risk\tx", PatternError::Rule),
        (b"!", PatternError::Exclamation),
        (b"a/**", PatternError::Stars),
        (b"\\***", PatternError::Stars),
        (b"x[a", PatternError::Bracket),
        (b"[[:nope:]]", PatternError::Class),
        (b"[b-a]", PatternError::Range),
        (b"[[:nope:]b-a]", PatternError::Class),
        (b"{a,b}", PatternError::Braces),
        (b"x/./y", PatternError::Dot),
        (b"../y", PatternError::DotDot),
        (b"\xef\xbb\xbf*.keep", PatternError::ByteOrderMark),
        (b"a\0", PatternError::Nul),
    ] {
        assert_eq!(check(pattern), Err(why), "{}", pattern.escape_ascii());
        assert_eq!(check_line(pattern), Err(why), "{}", pattern.escape_ascii());
        assert!(Patterns::new(&[Rule::exclude(pattern)]).is_ok(), "it may arrive");
    }
    for (line, why) in [
        (&b"#x"[..], PatternError::Comment),
        (b"x ", PatternError::Blank),
        (b"\tx", PatternError::Blank),
        (b" ", PatternError::Blank),
        (b"a\rb", PatternError::CarriageReturn),
        (b"x\\\\ ", PatternError::Blank),
    ] {
        assert_eq!(check_line(line), Err(why), "{}", line.escape_ascii());
        assert_eq!(check(line), Ok(()), "{}", line.escape_ascii());
    }
    for pattern in [
        &b"\\# x"[..],
        b"\\- x",
        b"[-] x",
        b"\\!x",
        b"\\*\\*",
        b"*?*",
        b"[**]",
        b"\\[a",
        b"[a]]",
        b"[]-a]",
        b"[a-]",
        b"[{,}]",
        b"{a}",
        b"a,b",
        b"\\{a,b}",
        b".x",
        b"...",
        b"x\\ ",
        b"\\ x",
        b"a b",
        b"a\\\rb",
        b"/x/",
    ] {
        assert_eq!(check_line(pattern), Ok(()), "{}", pattern.escape_ascii());
    }
}

/// The list that has travelled as these bytes.
fn arrived(reader: &mut Reader<'_>) -> Result<Patterns, Error> {
    let mut patterns = Patterns::default();
    patterns.extend(reader)?;
    Ok(patterns)
}

#[test]
fn lists_travel() {
    for patterns in [list(&[]), list(&["- *.tmp", "+ [!a]\\*/", "- /x"])] {
        let [bytes] = &patterns.emit(1_000)[..] else { panic!("one part is enough") };
        let mut reader = Reader::new(bytes);
        assert_eq!(arrived(&mut reader), Ok(patterns.clone()));
        assert!(reader.rest().is_empty());
        for end in 0..bytes.len() {
            let cut = arrived(&mut Reader::new(&bytes[..end]));
            assert_eq!(cut, Err(Error::Truncated), "{end}");
        }
    }
    assert_eq!(list(&["+ a", "- bc"]).emit(100), [b"\x02\x01\x01a\x00\x02bc"]);
    let bad = |bytes: &[u8]| arrived(&mut Reader::new(bytes)).unwrap_err();
    assert_eq!(bad(b"\x01\x02\x01a"), Error::Invalid);
    assert_eq!(bad(b"\x01\x00\x00"), Error::Invalid);
    assert_eq!(bad(b"\x01\x00\x01\\"), Error::Invalid);
    assert_eq!(bad(b"\x01\x00\x81\x08"), Error::TooLarge);
    let mut many = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec();
    many.extend(b"\x00\x01x".repeat(MAX_RULES + 1));
    assert_eq!(bad(&many), Error::TooLarge);
    many.truncate(10 + 3 * MAX_RULES);
    assert_eq!(bad(&many), Error::Truncated);
}

#[test]
fn a_long_list_travels_in_parts() {
    const MOST: usize = 1_100;
    let rules = (0..1_000).map(|n| Rule { include: n % 7 == 0, pattern: vec![b'x'; n + 1] });
    let whole = Patterns::new(&rules.collect::<Vec<_>>()).unwrap();
    let parts = whole.emit(MOST);
    assert!(parts.len() > 400 && parts.iter().all(|part| (4..=MOST).contains(&part.len())));
    let mut joined = Patterns::default();
    for part in &parts {
        let mut reader = Reader::new(part);
        joined.extend(&mut reader).unwrap();
        assert!(reader.rest().is_empty());
    }
    assert_eq!(joined, whole);
}

#[test]
fn hostile_patterns_are_cheap() {
    // Tried in every way, each of these would take longer than the universe has.
    let name = path(&"a".repeat(255));
    let stars = "a*".repeat(500) + "b";
    let patterns = list(&vec![&*format!("- {stars}"); 256]);
    for _ in 0..10 {
        assert!(!patterns.excludes(&name, false));
    }
    let deep = path(&vec!["a"; 2_000].join("/"));
    let pattern = "*/".repeat(500) + "b";
    assert!(!list(&[&*format!("- {pattern}")]).excludes(&deep, true));
}

/// What a list decides, by comparing with each pattern in turn.
fn one_by_one(rules: &[Rule], path: &RelPath, dir: bool) -> bool {
    let takes = |rule: &&Rule| {
        let alone = Rule::exclude(&rule.pattern);
        Patterns::new(&[alone]).unwrap().excludes(path, dir)
    };
    rules.iter().find(takes).is_some_and(|rule| !rule.include)
}

#[test]
fn a_list_decides_as_its_patterns_one_by_one() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % most
    };
    let parts = ["a", "b", "ab", "a*", "*b", "*", "?", "a?b", "[ab]", "*a*", "[a]b", "a[b]", "ba"];
    let mut excluded = 0;
    for _ in 0..2_000 {
        let rules: Vec<Rule> = (0..1 + draw(12))
            .map(|_| {
                let mut text: Vec<&str> = (0..1 + draw(3)).map(|_| parts[draw(13)]).collect();
                match draw(5) {
                    0 => text.insert(0, ""),
                    1 => text.push(""),
                    _ => {}
                }
                Rule { include: draw(3) == 0, pattern: text.join("/").into_bytes() }
            })
            .collect();
        let patterns = Patterns::new(&rules).unwrap();
        for _ in 0..20 {
            let names: Vec<&str> =
                (0..1 + draw(4)).map(|_| ["a", "b", "ab", "ba", "axb", "c"][draw(6)]).collect();
            let (path, dir) = (path(&names.join("/")), draw(2) == 0);
            let expected = one_by_one(&rules, &path, dir);
            excluded += u32::from(expected);
            assert_eq!(patterns.excludes(&path, dir), expected, "{path} {rules:?}");
        }
    }
    assert!((5_000..35_000).contains(&excluded), "{excluded}");
}

#[test]
fn the_length_of_a_list_costs_little_at_each_path() {
    let kinds = |n: usize| {
        let name = format!("name{n}");
        match n % 6 {
            0 => name,
            1 => format!("*.{name}"),
            2 => format!("{name}*"),
            3 => format!("/{name}/*"),
            4 => format!("{name}/cache/"),
            _ => format!("{name}-[0-9]*.log"),
        }
    };
    let rules: Vec<Rule> = (0..MAX_RULES).map(|n| Rule::exclude(kinds(n).as_bytes())).collect();
    let patterns = Patterns::new(&rules).unwrap();
    let (small, paths) = (list(&["- name0", "- *.name1"]), 2_000);
    // What the index has each path compared with.
    for n in 0..paths {
        let path = path(&format!("some/where/file{n}.txt"));
        assert!(!patterns.excludes(&path, false));
        assert!(patterns.tried(&path) <= small.tried(&path) + 2, "{path}");
    }
    for (name, dir) in [
        ("x/name6", false),
        ("x.name7", false),
        ("name8x", false),
        ("name9/x", false),
        ("x/name10/cache", true),
        ("name11-7x.log", false),
    ] {
        assert!(patterns.excludes(&path(name), dir), "{name}");
    }
    assert!(!patterns.excludes(&path("x/name9/x"), false));
}

#[test]
fn a_list_is_edited() {
    let mut list = PatternList::default();
    for name in ["a", "b", "a", "c"] {
        list.add(&Rule::exclude(name.as_bytes())).unwrap();
    }
    list.add(&Rule::include(b"a")).unwrap();
    assert_eq!(list.add(&Rule::exclude(b"- x")), Err(PatternError::Rule));
    assert_eq!(list.remove(&Rule::exclude(b"b")), Ok(true));
    assert_eq!(list.remove(&Rule::exclude(b"b")), Ok(false));
    let left: Vec<(bool, &[u8])> = list.patterns().rules().collect();
    assert_eq!(left, [(false, &b"a"[..]), (false, b"c"), (true, b"a")]);
    assert!(!list.patterns().excludes(&path("b"), false));
    list.add(&Rule::exclude(b"b")).unwrap();
    assert!(list.patterns().excludes(&path("b"), false));
    // What is refused leaves the list as it was, whatever it began to add.
    let held = list.patterns().clone();
    assert_eq!(list.add(&Rule::exclude(b"[ab]/[")), Err(PatternError::Bracket));
    assert_eq!(*held, **list.patterns());
}
