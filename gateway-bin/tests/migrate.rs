//! `towergate migrate` on installations as people have them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use common::{Folder, run};

const INGRESSES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway-k8s/tests/ingress");

fn input(name: &str) -> String {
    format!("{INGRESSES}/{name}/in.yaml")
}

fn migrate(args: &[&str]) -> (String, Option<i32>) {
    let args: Vec<&str> = std::iter::once("migrate")
        .chain(args.iter().copied())
        .collect();
    let output = run(env!("CARGO_BIN_EXE_towergate"), &args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn one_file_is_written_for_each_namespace_and_again_with_the_same_bytes() {
    let folder = Folder::new();
    let out = folder.path().join("out");
    let args = [&*input("gitlab"), "--out", out.to_str().unwrap()];

    let (_, code) = migrate(&args);
    let first = files(&out);
    migrate(&args);

    assert_eq!(code, Some(0));
    let names: Vec<&String> = first.keys().collect();
    assert_eq!(
        names,
        [
            "cluster.yaml",
            "default-certificate.yaml",
            "gateway.yaml",
            "gitlab.yaml"
        ]
    );
    assert_eq!(files(&out), first);
}

#[test]
fn the_exit_status_depends_on_the_worst_verdict() {
    let (report, allowed) = migrate(&[&input("digest-auth")]);
    let (_, failed) = migrate(&[&input("digest-auth"), "--fail-on", "impossible"]);
    let (_, fine) = migrate(&[&input("canary-weight"), "--fail-on", "impossible"]);

    assert!(report.contains("IMPOSSIBLE (1)"), "{report}");
    assert_eq!((allowed, failed, fine), (Some(0), Some(1), Some(0)));
}

#[test]
fn translations_without_differences_are_proved() {
    for name in [
        "gitlab",
        "harbor",
        "canary-weight",
        "canary-header-and-cookie",
        "api-versions-regex",
        "behind-cloudflare",
        "trailing-slash",
    ] {
        let (text, _) = migrate(&[&input(name), "--prove"]);

        assert!(text.contains(" 0 different"), "{name}: {text}");
    }
}

/// A server that answers every request with `response`, and its address.
fn server(response: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                head.push(byte[0]);
            }
            let method = head.split(|byte| *byte == b' ').next().unwrap();
            assert!(matches!(method, b"GET" | b"HEAD" | b"OPTIONS"));
            stream.write_all(response.as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

#[test]
fn running_gateways_are_compared() {
    let old = server("HTTP/1.1 204 No Content\r\nx-a: 1\r\ndate: Mon\r\n\r\n");
    let same = server("HTTP/1.1 204 No Content\r\nX-A: 1\r\nserver: towergate\r\n\r\n");
    let other = server("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let prove = |new: &str| {
        let against = format!("{old},{new}");
        let budget = ["--prove-rate", "1000", "--prove-requests", "3"];
        let mut args = vec!["--prove-against", against.as_str()];
        args.extend(budget);
        let input = input("canary-weight");
        args.push(&input);
        migrate(&args).0
    };

    let equal = prove(&same);
    let different = prove(&other);

    assert!(
        equal.contains("3 requests compared, 0 different"),
        "{equal}"
    );
    assert!(
        different.contains("3 requests compared, 3 different"),
        "{different}"
    );
    assert!(different.contains("204; x-a: 1"), "{different}");
}

#[test]
fn an_unknown_annotation_has_a_suggestion_and_no_ingress_is_an_error() {
    let folder = Folder::new();
    folder.write(
        "a.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
    );

    let (report, _) = migrate(&[&input("typo")]);
    let (_, none) = migrate(&[folder.path().to_str().unwrap()]);

    assert!(report.contains("`proxy-body-size`"), "{report}");
    assert_eq!(none, Some(2));
}
