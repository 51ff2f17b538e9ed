//! The corpora of the fuzz targets, as ordinary tests.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[allow(unreachable_pub, reason = "the fuzz targets include these files, too")]
mod properties;

use std::path::Path;

use properties::{condition, ext_auth_answer, htpasswd, token};

/// Checks each input of a target.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let inputs: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    for input in inputs {
        check(&std::fs::read(input).unwrap());
    }
}

#[test]
fn tokens() {
    replay("jwt", token::check);
}

#[test]
fn password_files() {
    replay("htpasswd", htpasswd::check);
}

#[test]
fn conditions_of_authorization_rules() {
    replay("cel", condition::check);
}

#[test]
fn answers_of_authorization_services() {
    replay("ext_auth_answer", ext_auth_answer::check);
}
