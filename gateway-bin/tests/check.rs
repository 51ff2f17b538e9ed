//! `towergate check` on files, folders and standard input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Folder, run};

fn check(path: &str) -> (String, Option<i32>) {
    let output = run(env!("CARGO_BIN_EXE_towergate"), &["check", path]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

#[test]
fn the_quickstart_has_no_findings() {
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart");

    assert_eq!(check(quickstart), ("no findings\n".to_owned(), Some(0)));
}

#[test]
fn an_unreadable_path_is_reported_with_advice() {
    let folder = Folder::new();
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, b"# caf\xe9\n").unwrap();

    let (missing, missing_code) = check("/no/such/folder");
    let (latin, latin_code) = check(latin.to_str().unwrap());

    assert!(
        missing.contains("there is no such file or folder"),
        "{missing}"
    );
    assert!(
        missing.contains("help: pass a manifest, or a folder of manifests, that exists"),
        "{missing}"
    );
    assert!(latin.contains("help: save the file as UTF-8"), "{latin}");
    assert_eq!((missing_code, latin_code), (Some(2), Some(2)));
}

#[test]
fn a_template_of_helm_is_not_called_malformed() {
    for text in [
        "{{- if .Values.on }}\nkind: Service\n{{- end }}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: \"{{ .Release.Name }}\"}\n",
    ] {
        let folder = Folder::new();
        folder.write("service.yaml", text);

        let (found, code) = check(folder.path().to_str().unwrap());

        assert!(
            found.contains("render the chart with `helm template`"),
            "{found}"
        );
        assert_eq!(code, Some(1));
    }
}

#[test]
fn a_backend_ref_without_port_is_one_error() {
    let folder = Folder::new();
    folder.write(
        "route.yaml",
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: eg, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web}]}]}
",
    );

    let (found, _) = check(folder.path().to_str().unwrap());

    let errors: Vec<_> = found
        .lines()
        .filter(|line| line.starts_with("error["))
        .collect();
    assert_eq!(
        errors,
        ["error[backend-port]: the reference to Service default/web has no port"]
    );
}

#[test]
fn a_closed_pipe_is_not_an_error() {
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
        "a duplicate object is an error"
    );
}

#[test]
fn run_reports_a_missing_folder_once() {
    let program = env!("CARGO_BIN_EXE_towergate");
    let output = run(program, &["run", "/no/such/folder", "--admin", "off"]);

    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.matches("/no/such/folder").count(), 1, "{text}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_folder_without_manifests_is_not_a_success() {
    let folder = Folder::new();

    let (text, code) = check(folder.path().to_str().unwrap());

    assert!(text.contains("no manifest in "), "{text}");
    assert_eq!(code, Some(2));
}

/// Runs a command with `input` as standard input. Returns its output and exit status.
fn pipe(args: &[&str], input: &str) -> (String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_towergate"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

#[test]
fn standard_input_is_checked_like_a_file() {
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: eg}\n\
                 spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}\n";
    let broken = format!(
        "{class}---\napiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: 1}}\n"
    );

    let (found, code) = pipe(&["check", "-"], &broken);
    assert!(found.contains("--> <stdin>:9:"), "{found}");
    assert!(found.contains("9 | spec: {ports: 1}"), "{found}");
    assert_eq!(code, Some(1));

    let (status, code) = pipe(&["status", "-"], class);
    assert!(status.contains("name: eg\nstatus:"), "{status}");
    assert_eq!(code, Some(0));

    let (empty, code) = pipe(&["check", "-"], "\n");
    assert!(empty.contains("no manifest on standard input"), "{empty}");
    assert_eq!(code, Some(2));
}
