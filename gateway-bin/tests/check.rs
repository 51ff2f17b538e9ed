//! `towergate check` as a user meets it first.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::process::{Command, Stdio};

use common::{Folder, run};

fn check(path: &str) -> (String, Option<i32>) {
    let output = run(env!("CARGO_BIN_EXE_towergate"), &["check", path]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

#[test]
fn all_is_well_with_the_quickstart() {
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart");

    assert_eq!(
        check(quickstart),
        ("all is well: no findings\n".to_owned(), Some(0))
    );
}

#[test]
fn what_cannot_be_read_says_how_to_mend_it() {
    let folder = Folder::new();
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, b"# caf\xe9\n").unwrap();

    let (missing, missing_code) = check("/no/such/folder");
    let (latin, latin_code) = check(latin.to_str().unwrap());

    assert!(
        missing.contains("there is no such file or folder"),
        "{missing}"
    );
    assert!(missing.contains("help: Correct the path."), "{missing}");
    assert!(latin.contains("help: Save it as UTF-8"), "{latin}");
    assert_eq!((missing_code, latin_code), (Some(2), Some(2)));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new();
    let route = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspecs: {}\n---\n";
    folder.write("a.yaml", &route.repeat(2000));
    let mut child = Command::new(env!("CARGO_BIN_EXE_towergate"))
        .args(["check", folder.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    drop(child.stdout.take());

    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(
        output.status.code(),
        Some(1),
        "what is told twice is an error"
    );
}

#[test]
fn run_says_once_what_is_not_there() {
    let program = env!("CARGO_BIN_EXE_towergate");
    let output = run(program, &["run", "/no/such/folder", "--admin", "off"]);

    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.matches("/no/such/folder").count(), 1, "{text}");
    assert_eq!(output.status.code(), Some(2));
}
