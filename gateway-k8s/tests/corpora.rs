//! Runs the corpora of the fuzz targets as ordinary tests.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of tests fail the test"
)]

#[path = "properties/access_log.rs"]
mod access_log;
#[path = "properties/manifest.rs"]
mod manifest;
#[path = "../../fuzz/replay.rs"]
mod replay;

use std::path::Path;

use proptest::option;
use proptest::prelude::*;
use replay::replay;
use towergate_k8s::ingress::access_log::{LoggedRequest, parse_line};

#[test]
fn files_of_manifests() {
    replay("manifest", manifest::check);
}

#[test]
fn lines_of_access_logs() {
    replay("access_log", access_log::check);
}

#[test]
fn every_corpus_is_replayed() {
    let tests = [
        include_str!("../../gateway-core/tests/corpora.rs"),
        include_str!("../../gateway-policy/tests/corpora.rs"),
        include_str!("corpora.rs"),
    ];
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");

    for corpus in corpora.read_dir().unwrap() {
        let target = corpus.unwrap().file_name().into_string().unwrap();

        let call = format!("replay(\"{target}\",");
        assert!(tests.iter().any(|test| test.contains(&call)), "{target}");
    }
}

proptest! {
    #[test]
    fn a_logged_request_is_read_as_it_was_written(
        host in option::of("[a-z][a-z0-9.-]{0,20}"),
        scheme in any::<bool>(),
        has_user in any::<bool>(),
        target in "/[!-~ä]{0,30}",
        status in 100_u16..600,
        upstream in option::of("[a-z][a-z0-9-]{0,20}"),
    ) {
        let request = LoggedRequest {
            https: host.is_some().then_some(scheme),
            host,
            client: "192.0.2.1".to_owned(),
            has_user,
            method: "GET".to_owned(),
            target,
            status,
            upstream,
        };

        let read = parse_line(&access_log::write(&request));

        prop_assert_eq!(read, Ok(request));
    }

    #[test]
    fn no_line_panics(line in r#"[ -~]{0,80}|[0-9.]{7} - - \[x\] "[ -~]{0,40}" 200 5 "-" "-"[ -~]{0,40}"#) {
        access_log::check(line.as_bytes());
    }
}
