//! Properties of every finding and condition: each is one line, and findings have a position and advice. The
//! properties are checked for all golden cases, for the fuzz corpus, and for variants with one error each: a
//! misspelt key, an invalid value, or a missing line.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use towergate_k8s::Diagnostic;
use towergate_k8s::decode::{Severity, decode};
use towergate_k8s::resolve::{ResolveOptions, resolve};

/// Returns the files below a folder of this package, sorted by name.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Returns all findings for a manifest, and the messages of all conditions.
fn findings(text: &str) -> (Vec<Diagnostic>, Vec<String>) {
    let decoded = decode("in.yaml", text);
    let resolution = resolve(&decoded.objects, &ResolveOptions::default());
    let mut found = decoded.diagnostics;
    found.extend(resolution.diagnostics);
    let mut messages = Vec::new();
    for object in resolution.statuses.objects() {
        collect(&object["status"], &mut messages);
    }
    (found, messages)
}

fn collect(value: &Value, messages: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(message)) = fields.get("message") {
                messages.push(message.clone());
            }
            fields.values().for_each(|value| collect(value, messages));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, messages)),
        _ => {}
    }
}

/// Returns the findings and messages for a manifest that violate a property.
fn faults(text: &str) -> Vec<String> {
    faults_of(findings(text)).0
}

/// Returns the findings and messages that violate a property, and the codes of all findings.
fn faults_of(
    (found, messages): (Vec<Diagnostic>, Vec<String>),
) -> (Vec<String>, Vec<&'static str>) {
    let broken = |text: &str| text.chars().any(char::is_control);
    let mut faults: Vec<_> = found
        .iter()
        .filter(|d| {
            let mute = d.help.is_empty() && d.severity != Severity::Note;
            mute || d.message.is_empty() || broken(&d.message) || broken(&d.help) || d.line == 0
        })
        .map(|d| format!("{d:?}"))
        .collect();
    faults.extend(messages.into_iter().filter(|message| broken(message)));
    (
        faults,
        found.iter().map(|found| found.code.as_str()).collect(),
    )
}

/// Returns variants of the manifest, one per line, with one error each; the three kinds of error alternate.
fn variants(text: &str) -> impl Iterator<Item = String> {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).map(move |at| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        match at % 3 {
            0 => drop(lines.remove(at)),
            1 => lines[at] = misspelt(&lines[at]),
            _ => lines[at] = with_invalid_value(&lines[at]),
        }
        lines.join("\n")
    })
}

/// Swaps two letters in the last key of a line.
fn misspelt(line: &str) -> String {
    let Some(end) = line.rfind(':').filter(|end| *end > 3) else {
        return line.to_owned();
    };
    let mut bytes = line.as_bytes().to_vec();
    bytes.swap(end - 1, end - 2);
    String::from_utf8(bytes).unwrap_or_else(|_| line.to_owned())
}

/// Replaces the value of a line with an invalid one.
fn with_invalid_value(line: &str) -> String {
    match line.rfind(": ") {
        Some(at) => format!("{}: \"(\"", &line[..at]),
        None => format!("{line} x"),
    }
}

#[test]
fn every_finding_of_the_cases_is_one_line_with_advice() {
    for case in files("tests/cases") {
        let text = fs::read_to_string(case.join("in.yaml")).unwrap();

        assert_eq!(faults(&text), [""; 0], "{}", case.display());
    }
    for file in files("../fuzz/corpus/manifest") {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();

        assert_eq!(faults(&text), [""; 0], "{}", file.display());
    }
}

#[test]
fn every_finding_about_a_typing_error_is_one_line_with_advice() {
    let cases = [
        "backend-tls",
        "certificates",
        "unknown-fields",
        "frontend-validation",
        "grpc",
        "guide-direct",
        "guide-proxy-custom-header",
        "policies-merged",
        "reference-grants",
        "rules",
        "rules-rejected",
    ];
    let mut codes = std::collections::BTreeSet::new();
    for case in cases {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let text = fs::read_to_string(folder.join(case).join("in.yaml")).unwrap();
        for variant in variants(&text) {
            let (faults, found) = faults_of(findings(&variant));

            assert_eq!(faults, [""; 0], "{case}:\n{variant}");
            codes.extend(found);
        }
    }
    assert!(
        codes.len() > 25,
        "the variants produce many kinds of errors: {codes:?}"
    );
}
