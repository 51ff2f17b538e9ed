//! What holds of every finding and every condition, whatever is wrong: it is one line, it has a place, and
//! errors and warnings say how to mend it. Held against all cases, and against cases with a slip of the hand
//! in each line: a key misspelt, a value that does not fit, a line left out.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use towergate_k8s::Diagnostic;
use towergate_k8s::decode::{Severity, decode};
use towergate_k8s::resolve::{Scope, resolve};

/// Files below a folder of this package, by name.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// All findings about a text, and the text of the statuses' conditions.
fn findings(text: &str) -> (Vec<Diagnostic>, Vec<String>) {
    let decoded = decode("in.yaml", text);
    let resolution = resolve(&decoded.objects, &Scope::default());
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

/// What is wrong with what is said of a text.
fn faults(text: &str) -> Vec<String> {
    faults_of(findings(text)).0
}

/// What is wrong with what is said, and the codes of the findings.
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
    (faults, found.iter().map(|found| found.code).collect())
}

/// The text with one slip in each line, the three sorts in turn.
fn slips(text: &str) -> impl Iterator<Item = String> {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).map(move |at| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        match at % 3 {
            0 => drop(lines.remove(at)),
            1 => lines[at] = misspelt(&lines[at]),
            _ => lines[at] = unfit(&lines[at]),
        }
        lines.join("\n")
    })
}

/// The last key of a line with two letters swapped.
fn misspelt(line: &str) -> String {
    let Some(end) = line.rfind(':').filter(|end| *end > 3) else {
        return line.to_owned();
    };
    let mut bytes = line.as_bytes().to_vec();
    bytes.swap(end - 1, end - 2);
    String::from_utf8(bytes).unwrap_or_else(|_| line.to_owned())
}

/// A line with something else as its value.
fn unfit(line: &str) -> String {
    match line.rfind(": ") {
        Some(at) => format!("{}: \"(\"", &line[..at]),
        None => format!("{line} x"),
    }
}

#[test]
fn every_finding_of_the_cases_is_one_line_and_says_how_to_mend_it() {
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
fn so_is_every_finding_about_a_slip_of_the_hand() {
    let cases = [
        "backend-tls",
        "certificates",
        "fields-not-known",
        "frontend-validation",
        "grpc",
        "guide-direct",
        "guide-proxy-custom-header",
        "policies-merged",
        "reference-grants",
        "rules",
        "rules-refused",
    ];
    let mut codes = std::collections::BTreeSet::new();
    for case in cases {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let text = fs::read_to_string(folder.join(case).join("in.yaml")).unwrap();
        for slip in slips(&text) {
            let (faults, found) = faults_of(findings(&slip));

            assert_eq!(faults, [""; 0], "{case}:\n{slip}");
            codes.extend(found);
        }
    }
    assert!(codes.len() > 25, "the slips are of many sorts: {codes:?}");
}
