//! The corpora of the fuzz targets, as ordinary tests.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[allow(unreachable_pub, reason = "the fuzz targets include these files, too")]
mod properties;
#[path = "../../fuzz/replay.rs"]
#[allow(unreachable_pub, reason = "tests of several crates include this file")]
mod replay;

use properties::{condition, ext_auth_answer, htpasswd, token};
use replay::replay;
use towergate_policy::oidc;

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

#[test]
fn cookies_of_openid_connect() {
    replay("oidc_cookies", oidc::fuzzing::cookies);
}
