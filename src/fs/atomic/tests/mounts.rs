//! Several mounts below the base directory.

use super::*;

#[test]
fn each_mount_keeps_its_own_and_one_that_is_missing_is_told() {
    let test =
        "fs::atomic::tests::mounts::each_mount_keeps_its_own_and_one_that_is_missing_is_told";
    if !is_in_namespace(test) {
        return;
    }
    let (from, to, other) = (TempDir::new("new"), TempDir::new("old"), TempDir::new("other"));
    let bind = ["--bind", other.path().to_str().unwrap()];
    let mounted = mount(&bind, &to.mkdir("m"));
    let _memory = mount_tmpfs(&to.mkdir("t"), "size=1m");
    for at in ["f", "m", "m/d", "t", "t/d"] {
        from.write(&format!("{at}-made/f"), "new");
        from.write(&format!("{at}-file"), "new");
        to.write(&format!("{at}-file"), "old version");
        to.write(&format!("{at}-extra/f"), "old");
    }
    from.mkdir("m");
    from.mkdir("t");
    from.write("m/x/y", "new");
    let mut disk = start(&to, &[]);
    // At the top of each is a place for what is staged.
    let but_tops = || {
        let mut all = exact(to.path());
        all.retain(|name, _| !matches!(&name[..], b"m" | b"t"));
        all
    };
    let before = but_tops();
    let prepared = ready(&from, &mut disk, DELETES);
    assert_eq!(but_tops(), before);
    let [base, m, t] = ["", "m", "t"].map(|dir| staged(&to.join(dir)));
    assert!(base > 2 && m > 2 && t > 1, "{base} {m} {t}");
    drop(disk);
    // A start while something is not there.
    drop(mounted);
    let mut disk = start(&to, &[prepared]);
    let applied = apply(&mut disk);
    assert!(applied.failed >= 4 && applied.done >= 4, "{applied:?}");
    assert!(applied.first.iter().all(|(path, _)| path.to_string().starts_with("m")), "{applied:?}");
    drop(disk);
    // What is on it is done when it is there again.
    let _mounted = mount(&bind, &to.join("m"));
    let mut disk = start(&to, &[prepared]);
    let applied = apply(&mut disk);
    assert_eq!(applied.failed, 0, "{applied:?}");
    clear(&mut disk, &to);
    assert!(!to.join("m/.makuosan").exists() && !to.join("t/.makuosan").exists());
    assert_same(&from, &to);
}
