//! The pages for people who use, judge or change makuosan: every path, link, command, option, test and
//! type that they name is there.

#[path = "pages/checker.rs"]
mod checker;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use checker::{Repository, problems};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn repository() -> &'static Repository {
    static READ: OnceLock<Repository> = OnceLock::new();
    READ.get_or_init(|| Repository::read(&root()))
}

/// The pages: those at the top, and all below `doc`.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    for entry in fs::read_dir(root().join("doc")).unwrap() {
        let path = entry.unwrap().path();
        pages.extend((path.extension().is_some_and(|ext| ext == "md")).then_some(path));
    }
    pages.push(root().join("tests/fuzz/README.md"));
    pages.sort();
    pages
}

/// A package of the sources for cargo has neither `.ci` nor `tests/fuzz`.
fn is_whole() -> bool {
    let whole = root().join(".ci").exists() && root().join("tests/fuzz").exists();
    if !whole {
        eprintln!("SKIPPED: this is not the whole repository");
    }
    whole
}

#[test]
fn all_that_the_pages_name_exists() {
    if !is_whole() {
        return;
    }
    let repository = repository();
    let mut found = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let page = page.strip_prefix(root()).unwrap().to_owned();
        let (count, wrong) = problems(repository, &page, &text);
        checked += count;
        found.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}", page.display())));
    }
    assert!(found.is_empty(), "{} problems:\n{}", found.len(), found.join("\n"));
    assert!(checked > 300, "only {checked} things were checked");
}

/// The problems of a page that is not there.
fn of(text: &str) -> Vec<String> {
    problems(repository(), Path::new("doc/made-up.md"), text).1
}

#[test]
fn the_checker_takes_what_is_right() {
    if !is_whole() {
        return;
    }
    let right = "
# A heading: with `code`

Read `src/lib.rs`, `src/wire/`, `man/ja/msync.1`, `tests/corpus/bodies/*.rs` and `Makefile`;
[the readme](../README.md#install), [here](#a-heading-with-code), [there](https://example.org/).
`/etc/makuosan.key` and `DIR/.makuosan` are none of ours. `make demo`, `msync send -rn --delete`,
`-k`, `--max-delete N`, `wire::header::Header`, `Header::parse`, `BlockNo` and `CONSOLE`.

    make && sudo make install PREFIX=/usr   # words like make nothing
    web1# makuosan -b /srv/www -i 10.1.0.1 -u www-data --key=/etc/makuosan.key
    web1$ msync -t web3 send -r --exclude '*.log' htdocs
    web2 10.1.0.2 (Ver2.0.0)
    MAKUO_SEED=17 cargo test --lib a_target_that_answers_anything
    cargo test --test daemon send
    cargo test --test corpus -- --ignored
    cargo clippy --all-targets --locked -- -D warnings
    .ci/run

| word | meaning | type |
| --- | --- | --- |
| header | begins each packet | `wire::header::Header` |
| number | of a batch | `ids::BatchNo` |
";
    assert_eq!(of(right), [""; 0]);
}

#[test]
fn the_checker_finds_what_is_wrong() {
    if !is_whole() {
        return;
    }
    let wrong = [
        ("Read `src/nowhere.rs`.", "src/nowhere.rs"),
        ("Read `src/nowhere/`.", "src/nowhere/"),
        ("Read `src/nowhere/*.rs`.", "src/nowhere/*.rs"),
        ("Read `nowhere.md`.", "nowhere.md"),
        ("See [this](../NOWHERE.md).", "../NOWHERE.md"),
        ("See [this](../README.md#nothing).", "#nothing"),
        ("See [this](#nothing).", "#nothing"),
        ("Run `make nothing`.", "make nothing"),
        ("    make && sudo make nothing", "make nothing"),
        ("Run `tests/nowhere.sh`.", "tests/nowhere.sh"),
        ("    tests/nowhere.sh 3", "tests/nowhere.sh"),
        ("    cargo test --test nothing", "--test nothing"),
        ("    cargo test --test daemon no_such_test_is_there", "no_such_test_is_there"),
        ("    cargo test --lib no_such_test_is_there", "no_such_test_is_there"),
        ("    cargo tset", "cargo tset"),
        ("    web1# makuosan -b /srv/www --no-such-option", "--no-such-option"),
        ("    $ msync send -rZ", "-Z"),
        ("Run `msync snd -r`.", "msync snd"),
        ("With `--no-such-option` it", "--no-such-option"),
        ("With `-Z` it", "-Z"),
        ("It is a `wire::header::Footer`.", "wire::header::Footer"),
        ("It is a `wire::nowhere::Header`.", "wire::nowhere::Header"),
        ("| word | meaning | type |\n| --- | --- | --- |\n| a | b | `NoSuchType` |", "NoSuchType"),
        ("| word | meaning | type |\n| --- | --- | --- |\n| a | b | |", "| a | b | |"),
        ("Call `Header::no_such_function`.", "no_such_function"),
    ];
    for (text, named) in wrong {
        let found = of(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(named), "{text}: {found:?}");
    }
}
